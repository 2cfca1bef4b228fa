"""Development on one machine: a PostgreSQL server of its own, tokens, example data, a database shell.

No code that production needs may live here: the image does not contain this package. Imported by `__main__` for the
development commands, and by the tests, the bench and the load tests for their servers.
"""
