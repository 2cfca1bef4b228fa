"""Migrations: applies and undoes the files of migrations/, one migrator at a time. Holds no SQL.

yoyo and psycopg are imported where they are used: a serving process asks only what is shipped and saves their 13 MB.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from service.db.url import for_psycopg
from service.settings import ROOT

FOLDER = ROOT / "migrations"


class MigrationError(Exception):
    """Not every migration ran. The message says which did not and why; nothing of that one remains."""


def bundled() -> tuple[str, ...]:
    """The migrations of this release in their order, such as `0001.create-users`."""
    names = (path.name for path in FOLDER.glob("*.sql"))
    return tuple(sorted(name.removesuffix(".sql") for name in names if not name.endswith(".rollback.sql")))


def migrate(database_url: str) -> list[str]:
    """Applies what is shipped and not applied yet. Returns what it applied.

    Waits at most 60 s for another migrator. Raises MigrationError, and SettingsError for a bad URL.
    """
    with _migration_lock(database_url) as (backend, migrations):
        return [_run(backend, migration, "apply") for migration in backend.to_apply(migrations)]


def rollback(database_url: str, steps: int = 1) -> list[str]:
    """Undoes the last `steps` migrations. Returns what it undid, the last first.

    Waits at most 60 s for another migrator. Raises MigrationError, and SettingsError for a bad URL.
    """
    with _migration_lock(database_url) as (backend, migrations):
        if set(backend.get_applied_migration_hashes()) - {migration.hash for migration in migrations}:
            raise MigrationError("the database has migrations of another release: roll back with that release")
        return [_run(backend, migration, "rollback") for migration in backend.to_rollback(migrations)[:steps]]


@contextmanager
def _migration_lock(database_url: str) -> Iterator[tuple[Any, Any]]:
    """yoyo's backend and migrations, which no other migrator has meanwhile."""
    import psycopg
    import yoyo

    url = for_psycopg(database_url)
    try:
        with psycopg.connect(url) as turn:
            # keeps no snapshot, for whose end `create index concurrently` would wait; neither does a simple query
            turn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            try:
                turn.execute((FOLDER / "lock" / "take-turn.sql").read_bytes())
            except psycopg.errors.LockNotAvailable:
                raise MigrationError("another migrator did not finish in time: try again later") from None
            with yoyo.get_backend(url.replace(":", "+psycopg:", 1)) as backend:
                backend.connection.prepare_threshold = None  # a pooler may lose what is prepared
                backend.break_lock()  # yoyo's own, a row that a killed migrator leaves
                yield backend, yoyo.read_migrations(str(FOLDER))
    except psycopg.Error as error:
        raise MigrationError(str(error)) from error


def _run(backend: Any, migration: Any, direction: str) -> str:
    # yoyo's own apply_one notes the migration in a second transaction: a kill between the two leaves it done, unnoted
    migration.load()
    try:
        with backend.transaction() if migration.use_transactions else nullcontext():
            migration.process_steps(backend, direction)
            backend.log_migration(migration, direction)
            note = backend.mark_one if direction == "apply" else backend.unmark_one
            note(migration, log=False)
    except backend.DatabaseError as error:
        raise MigrationError(f"{migration.id}: {direction} failed: {error}") from error
    return str(migration.id)
