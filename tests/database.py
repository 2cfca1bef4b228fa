"""A direct connection to the test's database, to lock its tables, and the service's pool without the service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from service.db.database import Database
from service.db.url import for_psycopg
from service.settings import read_settings
from tests.serving import SECRET, until

SERVICE_SESSIONS: LiteralString = (
    "from pg_stat_activity where application_name = 'task-service' and datname = current_database()"
)
BLOCKED: LiteralString = f"select pid {SERVICE_SESSIONS} and wait_event_type = 'Lock'"
SESSIONS: LiteralString = f"select pid {SERVICE_SESSIONS}"
TERMINATE: LiteralString = f"select pg_terminate_backend(pid) {SERVICE_SESSIONS}"


def name_of(database_url: str) -> str:
    """The name of the database."""
    return str(conninfo_to_dict(for_psycopg(database_url)).get("dbname"))


@contextmanager
def locked(database_url: str, mode: LiteralString) -> Iterator[None]:
    """Hold a lock on the table of tasks: `exclusive` blocks writes, `access exclusive` blocks reads too."""
    with psycopg.connect(for_psycopg(database_url)) as connection:
        connection.execute(sql.SQL("lock table tasks in {} mode").format(sql.SQL(mode)))
        yield
        connection.rollback()


@asynccontextmanager
async def opened(database_url: str, **settings: Any) -> AsyncIterator[Database]:
    """The service's pool without the service, filled to its minimum size."""
    values = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET, "POOL_MIN_SIZE": "1"}
    database = Database(read_settings(values | {name.upper(): str(value) for name, value in settings.items()}))
    await database.open()
    await asyncio.to_thread(until, lambda: len(database.idle) == settings.get("pool_min_size", 1))
    try:
        yield database
        if set(database.idle) == set(database.connections):
            assert (database.queue.size, len(database.queue), database.queue.held) == (0, 0, {})
    finally:
        await database.close()
