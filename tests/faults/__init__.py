"""Fault injection on real servers: each scenario makes one fault and checks the promises. Start at __main__.py."""
