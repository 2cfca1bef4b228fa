"""The migrations: up, down, up; two migrators at once, a killed one, a failing one; `users` of another service."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from service.db import migrations
from service.db.migrations import FOLDER, MigrationError, bundled, migrate, rollback
from service.db.url import for_psycopg
from service.dev.postgres import PROGRAMS
from service.settings import ROOT
from tests.serving import until

if TYPE_CHECKING:
    from tests.conftest import Postgres

Connection = psycopg.Connection[Any]

RELEASED = Path(__file__).parent / "released_migrations.txt"
LOCK = FOLDER / "bookkeeping" / "acquire-lock.sql"
WAITING = """
    select count(*) from pg_locks join pg_database on pg_database.oid = database
    where not granted and datname = current_database()
"""


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    with psycopg.connect(for_psycopg(empty_database), autocommit=True) as connection:
        yield connection


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations, to which tests add files."""
    copy = shutil.copytree(FOLDER, tmp_path / "migrations")
    monkeypatch.setattr(migrations, "FOLDER", copy)
    return copy


def start_migrator(database: str) -> subprocess.Popen[str]:
    program = "import sys; from service.db.migrations import migrate; print(*migrate(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", program, database], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for_waiting(connection: Connection, sessions: int) -> None:
    """Wait until that many sessions of this database wait for a lock."""
    until(lambda: connection.execute(WAITING).fetchone() == (sessions,))


def tables(connection: Connection) -> set[str]:
    """The tables, without those that record the migrations."""
    rows = connection.execute("select tablename from pg_tables where schemaname = 'public'")
    return {name for (name,) in rows if "yoyo" not in name}


def schema(database: str) -> str:
    dump = subprocess.run(
        [PROGRAMS / "pg_dump", "--schema-only", for_psycopg(database)], check=True, capture_output=True, text=True
    )
    return "\n".join(line for line in dump.stdout.splitlines() if "restrict" not in line)  # \restrict, a random word


def test_migrate_applies_each_migration_once(empty_database: str, connection: Connection) -> None:
    assert migrate(empty_database) == list(bundled())
    assert bundled()[:2] == ("0001.create-users", "0002.create-tasks")
    assert tables(connection) == {"users", "tasks"}

    assert migrate(empty_database) == []


def test_rollback_undoes_the_last_step(empty_database: str, connection: Connection) -> None:
    migrate(empty_database)

    for name in reversed(bundled()[1:]):
        assert rollback(empty_database) == [name]
    assert tables(connection) == {"users"}


def test_rollback_undoes_no_more_than_there_is(empty_database: str, connection: Connection) -> None:
    migrate(empty_database)

    assert rollback(empty_database, steps=len(bundled()) + 1) == list(reversed(bundled()))
    assert tables(connection) == set()
    assert rollback(empty_database) == []


def test_migrate_after_rollback_makes_the_same_schema(empty_database: str) -> None:
    migrate(empty_database)
    first = schema(empty_database)

    for steps in range(1, len(bundled()) + 1):
        rollback(empty_database, steps)
        migrate(empty_database)

        assert schema(empty_database) == first


@pytest.mark.parametrize("undone", [["0002.create-tasks"], ["0001.create-users", "0002.create-tasks"]])
def test_rows_that_were_kept_as_the_rollbacks_say_can_be_restored(
    undone: list[str], empty_database: str, connection: Connection, tmp_path: Path
) -> None:
    migrate(empty_database)
    connection.execute("insert into users values (gen_random_uuid())")
    connection.execute(
        "insert into tasks (user_id, title) select id, 'Task ' || n from users, generate_series(1, 9) as n"
    )
    connection.execute("create table kept as select * from tasks")  # which uses the domain of the times too
    advice = [(FOLDER / f"{name}.rollback.sql").read_text() for name in undone]
    dumps, restores = zip(*(re.findall(r"^--   (.*--file=.*)", text, re.MULTILINE) for text in advice), strict=True)

    for command in dumps:
        run_printed(command, empty_database, tmp_path)
    rollback(empty_database, steps=len(bundled()) - bundled().index(undone[0]))
    migrate(empty_database)
    for command in restores:
        run_printed(command, empty_database, tmp_path)

    assert connection.execute("table tasks except table kept").fetchall() == []
    assert connection.execute("select count(*) from tasks").fetchall() == [(9,)]


def run_printed(command: str, database: str, folder: Path) -> None:
    """Run a command of PostgreSQL as a file prints it, on the database."""
    program, *options = command.split()
    subprocess.run([PROGRAMS / program, *options, for_psycopg(database)], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("name", bundled())
@pytest.mark.parametrize("suffix", [".sql", ".rollback.sql"])
def test_migration_says_why_and_bounds_its_locks(name: str, suffix: str) -> None:
    lines = (FOLDER / f"{name}{suffix}").read_text().splitlines()
    statements = [line for line in lines if line and not line.startswith("--")]

    assert lines[0].startswith("-- ")
    assert lines[0].endswith(".")
    assert statements[:2] == ["set local lock_timeout = '2s';", "set local statement_timeout = '5s';"]


def test_released_migrations_are_as_they_were() -> None:
    for line in RELEASED.read_text().splitlines():
        digest, name = line.split()

        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, (
            f"{name} has been released: add another"
        )


def test_bundled_loads_no_driver() -> None:
    program = "import sys, service.db.migrations as m; m.bundled(); sys.exit('psycopg' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_migrate_twice_at_once_applies_each_migration_once(empty_database: str, connection: Connection) -> None:
    with connection.transaction():
        connection.execute(LOCK.read_bytes())
        migrators = [start_migrator(empty_database), start_migrator(empty_database)]
        wait_for_waiting(connection, sessions=2)

    applied = [migrator.communicate()[0].split() for migrator in migrators]

    assert sorted(applied) == [[], list(bundled())]
    assert [migrator.returncode for migrator in migrators] == [0, 0]


def test_migrate_gives_up_waiting_for_the_lock(empty_database: str, connection: Connection, folder: Path) -> None:
    lock = folder / "bookkeeping" / "acquire-lock.sql"
    lock.write_text(lock.read_text().replace("'60s'", "'50ms'"))
    with connection.transaction():
        connection.execute(LOCK.read_bytes())

        with pytest.raises(MigrationError, match="another migrator"):
            migrate(empty_database)

    assert tables(connection) == set()


def test_migrate_follows_a_killed_migrator(empty_database: str, connection: Connection) -> None:
    connection.execute("create table users (id uuid primary key)")
    with connection.transaction():
        connection.execute("lock table users in access exclusive mode")
        migrator = start_migrator(empty_database)
        wait_for_waiting(connection, sessions=1)  # in the middle of 0002, whose foreign key locks users
        migrator.kill()
        assert migrator.communicate()[0] == ""

    assert migrate(empty_database) == list(bundled()[1:])


def test_migrate_rolls_back_a_migration_that_fails(empty_database: str, connection: Connection, folder: Path) -> None:
    broken = folder / "9000.create-half.sql"
    broken.write_text("-- half\ncreate table half ();\nselect 1 / 0;\n")

    with pytest.raises(MigrationError, match=r"^9000\.create-half: apply failed: division by zero"):
        migrate(empty_database)
    assert tables(connection) == {"users", "tasks"}

    broken.write_text("-- half\ncreate table half ();\n")
    assert migrate(empty_database) == ["9000.create-half"]


def test_migrate_rolls_back_a_migration_that_it_cannot_record(
    empty_database: str, connection: Connection, folder: Path
) -> None:
    """A kill between the change and its record would leave this if each had its own transaction."""
    migrate(empty_database)
    (folder / "9000.create-third.sql").write_text("-- third\ncreate table third ();\n")
    connection.execute("alter table _yoyo_migration add constraint no_more check (migration_id < '9000')")

    with pytest.raises(MigrationError, match=r"^9000\.create-third: apply failed: .*_yoyo_migration"):
        migrate(empty_database)

    assert tables(connection) == {"users", "tasks"}


def test_migrate_runs_a_file_outside_a_transaction(empty_database: str, connection: Connection, folder: Path) -> None:
    (folder / "9000.index-tasks.sql").write_text(
        "-- an index\n-- transactional: false\n"
        "set lock_timeout = '2s';\ncreate index concurrently tasks_by_title on tasks (title);\n"
    )
    (folder / "9000.index-tasks.rollback.sql").write_text(
        "-- no index\n-- transactional: false\ndrop index concurrently tasks_by_title;\n"
    )
    # in which the transaction that holds the turn would keep a snapshot, and `concurrently` would wait for its end
    name = connection.info.dbname
    connection.execute(f"alter database {name} set default_transaction_isolation = 'repeatable read'".encode())

    assert migrate(empty_database)[-1] == "9000.index-tasks"
    assert rollback(empty_database) == ["9000.index-tasks"]


def test_rollback_refuses_migrations_of_another_release(
    empty_database: str, connection: Connection, folder: Path
) -> None:
    later = folder / "9000.create-third.sql"
    later.write_text("-- third\ncreate table third ();\n")
    migrate(empty_database)
    later.unlink()

    assert migrate(empty_database) == []
    with pytest.raises(MigrationError, match="another release"):
        rollback(empty_database)
    assert tables(connection) == {"users", "tasks", "third"}


@pytest.mark.parametrize(
    "users",
    [
        "create table users (id uuid primary key, email text not null)",
        "create table users (id uuid not null, unique (id) include (email), email text)",
        "create table users (id uuid primary key) partition by hash (id)",
    ],
)
def test_migrate_and_rollback_keep_the_users_of_another_service(
    empty_database: str, connection: Connection, users: str
) -> None:
    connection.execute(users.encode())
    before = schema(empty_database)

    assert migrate(empty_database) == list(bundled())
    rollback(empty_database, steps=len(bundled()))

    connection.execute("drop table _yoyo_log, _yoyo_migration, _yoyo_version")
    assert schema(empty_database) == before


@pytest.mark.parametrize(
    "users",
    [
        "create table users (id text primary key)",
        "create table users (id uuid not null)",
        "create table users (uuid uuid primary key)",
        "create table users (id uuid, tenant integer, primary key (id, tenant))",
        "create table users (id uuid unique deferrable)",
        "create table users (id uuid); create unique index on users (id) where id is not null",
        "create view users as select gen_random_uuid() as id",
    ],
)
def test_migrate_refuses_a_users_table_without_a_uuid_key(
    empty_database: str, connection: Connection, users: str
) -> None:
    connection.execute(users.encode())
    before = tables(connection)

    with pytest.raises(
        MigrationError, match=r"^0001\.create-users: .* its id is not a uuid that is primary key or unique"
    ):
        migrate(empty_database)

    assert tables(connection) == before


def test_migrate_by_a_role_without_create_says_what_to_grant(
    postgres: "Postgres", empty_database: str, connection: Connection
) -> None:
    postgres.execute("create role {}", "limited")
    connection.execute("revoke create on schema public from public")
    separator = "&" if "?" in empty_database else "?"
    try:
        with pytest.raises(MigrationError, match=r"permission denied for schema public[^\0]*grant create on schema"):
            migrate(f"{empty_database}{separator}options=-c%20role%3Dlimited")
    finally:
        postgres.execute("drop role {}", "limited")


def test_migrate_of_a_current_schema_needs_no_right_to_create(
    postgres: "Postgres", empty_database: str, connection: Connection
) -> None:
    migrate(empty_database)
    postgres.execute("create role {}", "limited")
    connection.execute("revoke create on schema public from public; grant select on _yoyo_migration to limited")
    separator = "&" if "?" in empty_database else "?"
    try:
        assert migrate(f"{empty_database}{separator}options=-c%20role%3Dlimited") == []
    finally:
        connection.execute("drop owned by limited")
        postgres.execute("drop role {}", "limited")


def test_migrate_beside_a_tasks_table_of_another_program_says_what_to_do(
    empty_database: str, connection: Connection
) -> None:
    connection.execute("create table tasks (id serial primary key)")

    with pytest.raises(MigrationError, match=r'^0002\.create-tasks: .*"tasks" already exists[^\0]*rename it'):
        migrate(empty_database)


@pytest.mark.parametrize(
    "made",
    [
        "create type task_time as enum ('x')",
        "create domain task_time as text",
        "create domain task_time as timestamptz",
        "create domain task_time as timestamp constraint task_times_have_four_digit_years check (value > '0001-01-01')",
        "create table task_time ()",
    ],
)
def test_migrate_beside_a_type_of_another_program_says_what_to_do(
    empty_database: str, connection: Connection, made: str
) -> None:
    connection.execute(made.encode())

    with pytest.raises(MigrationError, match=r"^0002\.create-tasks: .* type task_time already[^\0]*Rename it"):
        migrate(empty_database)
    assert "tasks" not in tables(connection)


def test_rollback_keeps_a_users_table_of_another_owner(empty_database: str, connection: Connection) -> None:
    migrate(empty_database)
    connection.execute("comment on table users is 'Kept by the authentication service.'")

    rollback(empty_database, steps=len(bundled()))

    assert tables(connection) == {"users"}
