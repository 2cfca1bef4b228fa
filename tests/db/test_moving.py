"""The move from a FastAPI + SQLModel + Alembic design, by the commands of docs/moving.md, with 2,000 tasks."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from service.db.migrations import migrate
from service.db.url import for_psycopg
from service.dev.postgres import PROGRAMS
from service.settings import ROOT
from tests.serving import serving

TASKS = 2_000
USER = "00000000-0000-4000-8000-000000000000"

OLD = """
    create table users (id uuid primary key, email varchar not null);
    insert into users
    select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n from generate_series(0, 99) n;
    create table tasks (
        id {id} primary key,
        user_id uuid not null references users (id),
        title varchar(500) not null,
        description varchar,
        completed boolean not null,
        created_at {timestamp} not null,
        updated_at {timestamp} not null
    );
    create index ix_tasks_user_id on tasks (user_id);
    create table alembic_version (version_num varchar(32) primary key);
    insert into tasks (user_id, title, description, completed, created_at, updated_at)
    select
        ('00000000-0000-4000-8000-' || lpad((n % 100)::text, 12, '0'))::uuid,
        'Task ' || n, case when n % 3 = 0 then 'a description' end, n % 2 = 0,
        '2024-01-01'::timestamp + n * interval '1 minute', '2025-01-01'::timestamp + n * interval '1 minute'
    from generate_series(1, {tasks}) n;
"""


def psql(database: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "psql"), for_psycopg(database), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def copy(database: str, zone: str = "UTC") -> subprocess.CompletedProcess[str]:
    script = ["-v", "old=old_tasks", "-v", f"zone={zone}", "-f", "examples/moving/copy-tasks.sql"]
    return psql(database, *script)


@pytest.fixture
def connection(empty_database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(for_psycopg(empty_database), autocommit=True) as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def rename_and_migrate(database: str, connection: psycopg.Connection[Any], id_type: str, timestamp: str) -> None:
    connection.execute(OLD.format(id=id_type, timestamp=timestamp, tasks=TASKS).encode())
    assert psql(database, "-c", "alter table tasks rename to old_tasks").returncode == 0
    migrate(database)


@pytest.mark.parametrize("timestamp", ["timestamp", "timestamptz"])
@pytest.mark.parametrize("id_type", ["uuid default gen_random_uuid()", "serial"])
def test_moving_keeps_every_task(
    empty_database: str, connection: psycopg.Connection[Any], id_type: str, timestamp: str
) -> None:
    rename_and_migrate(empty_database, connection, id_type, timestamp)
    copied = copy(empty_database)

    assert (copied.returncode, copied.stderr) == (0, "")
    assert re.search(rf"\b{TASKS} \| +{TASKS}\b", copied.stdout)
    columns = b"user_id, title, description, completed, created_at::timestamptz, updated_at::timestamptz"
    differences = b"(select %b from old_tasks except all select %b from tasks)" % (columns, columns)
    assert connection.execute(b"select count(*) from " + differences + b" x").fetchone() == (0,)
    assert re.search(rf"\b{TASKS} \| +0\b", copy(empty_database).stdout)  # run again, it adds nothing
    with serving(database_url=empty_database) as api:
        first = api.caller(UUID(USER)).list().json()[0]
    assert (first["title"], first["updated_at"][:16]) == (f"Task {TASKS}", "2025-01-02T09:20")
    if id_type != "serial":
        assert connection.execute("select from old_tasks where id = %s", (first["id"],)).fetchone() == ()


def test_moving_reads_timestamps_without_a_time_zone_in_the_given_one(
    empty_database: str, connection: psycopg.Connection[Any]
) -> None:
    rename_and_migrate(empty_database, connection, "serial", "timestamp")
    copy(empty_database, "Europe/Berlin")

    first = connection.execute("select to_char(min(created_at), 'YYYY-MM-DD HH24:MI') from tasks").fetchone()
    assert first == ("2023-12-31 23:01",)


def test_moving_again_after_going_back_copies_the_tasks_as_they_are_then(
    empty_database: str, connection: psycopg.Connection[Any]
) -> None:
    section = (ROOT / "docs" / "moving.md").read_text().partition("## Going back")[2]
    back, again = (re.findall(r"-c '(.+?)'", block) for block in re.findall(r"^psql .*", section, re.MULTILINE))
    rename_and_migrate(empty_database, connection, "serial", "timestamp")
    copy(empty_database)
    for command in back:
        connection.execute(command.encode())
    connection.execute("update tasks set title = 'Changed' where id = 1; delete from tasks where id = 2")
    for command in again:
        connection.execute(command.encode())

    assert migrate(empty_database) == []
    assert re.search(rf"\b{TASKS - 1} \| +{TASKS - 1}\b", copy(empty_database).stdout)
    assert connection.execute("select count(*) from tasks where title in ('Changed', 'Task 2')").fetchone() == (1,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update old_tasks set title = ' ' where title in ('Task 1', 'Task 2')", "2 with a blank title"),
        (
            "alter table old_tasks alter title type text; update old_tasks set title = repeat('x', 501)",
            f"{TASKS} with a",
        ),
        ("update old_tasks set created_at = '-infinity' where title = 'Task 1'", "1 with a timestamp"),
        ("alter table old_tasks drop constraint tasks_user_id_fkey; delete from users", "no row in users"),
    ],
)
def test_moving_copies_nothing_when_tasks_do_not_fit(
    empty_database: str, connection: psycopg.Connection[Any], change: str, reason: str
) -> None:
    rename_and_migrate(empty_database, connection, "serial", "timestamptz")
    connection.execute(change.encode())
    copied = copy(empty_database)

    assert copied.returncode == 3
    assert re.search(f"tasks do not fit: .*{reason}", copied.stderr)
    assert connection.execute("select count(*) from tasks").fetchone() == (0,)
