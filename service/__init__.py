"""The task service: six endpoints over hand-written SQL. Start reading at app.py.

Modules here start and stop the service, read its settings, or are used by several packages. The packages, which
docs/architecture.md draws, answer requests. tests/test_imports.py has what each module or package may import.
"""
