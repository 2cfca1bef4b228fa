"""The database layer: statements in, rows out.

`Database.run(statement, user_id, ...)` is the way in. Nothing here knows HTTP, tokens or tasks.
`driver.py` alone imports asyncpg; `migrations.py` alone imports psycopg.
Imported by `auth` (for `UUID` only), `api`, `tasks`, `observability` and the composition root.
"""

from service.db.driver import UUID

__all__ = ["UUID"]
