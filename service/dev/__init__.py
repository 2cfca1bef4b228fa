"""Commands for development on one machine: a PostgreSQL server, tokens, example data and a database shell.

The production image does not contain this package, so no code that production needs may be here.
May import `auth`, `db`, `server` and `settings`. In the service, only `__main__` imports it, for the development
commands. The tests, `bench` and `load` import it for their PostgreSQL servers.
"""
