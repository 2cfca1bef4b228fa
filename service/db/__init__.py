"""The database layer: statements in, rows out.

`Database.run(statement, user_id, ...)` is the entry point. Nothing here knows HTTP, tokens or tasks.
`driver.py` alone imports asyncpg; `migrations.py` alone imports psycopg.
Imports `settings` and `timers`. Imported by `auth` (for `UUID` only), `api`, `tasks`, `observability`, `app`, and the
commands: `dev`, `report` and `__main__`.
"""

from service.db.driver import UUID

__all__ = ["UUID"]
