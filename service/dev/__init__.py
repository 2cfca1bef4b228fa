"""Development on one machine: a PostgreSQL server of its own, tokens, example data, a database shell.

Nothing that production runs may live here: no other package imports `dev`, and the image does not hold it.
Imported by `__main__` for its commands, and by the tests and harnesses for their servers.
"""
