"""Faults on purpose, on real servers: what becomes of the promises? Start reading at __main__.py."""
