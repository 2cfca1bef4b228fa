"""Applies and undoes the files of migrations/, one migrator at a time. Contains no SQL.

psycopg is imported in the functions that use it: a serving process calls only `bundled`, and saves the driver's memory.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from typing import Any

from service.db.url import for_psycopg
from service.settings import ROOT

FOLDER = ROOT / "migrations"
APPLIED = ROOT / "sql" / "applied_migrations.sql"

outside_transaction = re.compile(r"^-- transactional: false$", re.MULTILINE).search

REMEDIES = {
    "42501": "Grant the role what is missing (`grant create on schema ...` to make tables, `grant references on users` "
    "if another service owns that table), or migrate as the role that owns the tables.",
    "42P07": "Another program made a table or an index of this name: rename it, or give the role of DATABASE_URL a "
    "search_path with a schema of this service's own.",
    "55P03": "Another session holds a lock on a table. Nothing was changed: try again when it is done.",
    "57014": "The change took longer than its statement_timeout. Nothing was changed: try again in a quiet hour.",
}
"""The remedy for the user, by SQLSTATE."""


class MigrationError(Exception):
    """A migration failed. The message has its name, the reason and a remedy."""


def bundled() -> tuple[str, ...]:
    """The names of this release's migrations in their order, such as `0001.create-users`."""
    names = (path.name for path in FOLDER.glob("*.sql"))
    return tuple(sorted(name.removesuffix(".sql") for name in names if not name.endswith(".rollback.sql")))


def missing(database_url: str) -> list[str]:
    """The names of the migrations that are not applied. Changes nothing. Raises MigrationError and SettingsError."""
    import psycopg

    try:
        with psycopg.connect(for_psycopg(database_url)) as connection:
            applied = {name for (name,) in connection.execute(APPLIED.read_bytes())}
    except psycopg.errors.UndefinedTable:
        applied = set()
    except psycopg.Error as error:
        raise MigrationError(_explained(error)) from error
    return [name for name in bundled() if name not in applied]


def migrate(database_url: str) -> list[str]:
    """Apply the migrations that are not applied yet. Returns their names.

    Waits at most 60 s for another migrator. Raises MigrationError, and SettingsError for a bad URL.
    """
    with _migration_lock(database_url) as (connection, applied):
        names = [name for name in bundled() if name not in applied]
        for name in names:
            _run(connection, name, "apply", f"{name}.sql")
        return names


def rollback(database_url: str, steps: int = 1) -> list[str]:
    """Undo the last `steps` migrations. Returns their names, the last one first.

    Waits at most 60 s for another migrator. Raises MigrationError, and SettingsError for a bad URL.
    """
    with _migration_lock(database_url) as (connection, applied):
        if applied.difference(bundled()):
            raise MigrationError("the database has migrations of another release: roll back with that release")
        names = [name for name in reversed(bundled()) if name in applied][:steps]
        for name in names:
            _run(connection, name, "rollback", f"{name}.rollback.sql")
        return names


@contextmanager
def _migration_lock(database_url: str) -> Iterator[tuple[Any, set[str]]]:
    """Hold the migration lock. Yields a connection in autocommit mode and the names of the applied migrations."""
    import psycopg

    url = for_psycopg(database_url)
    try:
        # Two connections: the lock belongs to a transaction, and some files must run outside a transaction.
        with psycopg.connect(url) as lock, psycopg.connect(url, autocommit=True) as connection:
            # A stricter level would keep a snapshot, for the end of which `create index concurrently` waits.
            lock.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.prepare_threshold = None  # a pooler may not keep prepared statements
            connection.cursor_factory = psycopg.RawCursor  # parameters as $1
            try:
                lock.execute(_text("acquire-lock"))
            except psycopg.errors.LockNotAvailable:
                raise MigrationError("another migrator did not finish in time: try again later") from None
            connection.execute(_text("create-tables"))
            yield connection, {name for (name,) in connection.execute(APPLIED.read_bytes())}
    except psycopg.Error as error:
        raise MigrationError(_explained(error)) from error


def _run(connection: Any, name: str, direction: str, file: str) -> None:
    """Run one file, and record it in the same transaction, so that no kill leaves an applied file unrecorded."""
    import psycopg

    text = (FOLDER / file).read_text()
    transaction: AbstractContextManager[Any] = connection.transaction()
    statements = [text]
    if outside_transaction(text):
        # PostgreSQL runs several statements of one message in a transaction: each is sent alone.
        transaction, statements = nullcontext(), re.split(r"(?<=;)\n", text)
    try:
        with transaction:
            for statement in statements:
                connection.execute(statement.encode())
            digest = sha256(name.encode()).hexdigest()
            connection.execute(_text(f"record-{direction}"), (digest, name, socket.gethostname()))
    except psycopg.Error as error:
        raise MigrationError(f"{name}: {direction} failed: {_explained(error)}") from error


def _text(name: str) -> bytes:
    return (FOLDER / "bookkeeping" / f"{name}.sql").read_bytes()


def _explained(error: Any) -> str:
    remedy = REMEDIES.get(error.sqlstate or "")
    return f"{error}\n{remedy}" if remedy else str(error)
