"""The task service: six endpoints over hand-written SQL. Start reading at app.py.

Modules here start and stop the service and read its settings; what answers a request is in the packages, which
docs/architecture.md draws. tests/test_imports.py has what each may import.
"""
