"""The state of the service's database sessions after requests.

A connection is not reset between two requests, so no statement may change the session.
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.database import SERVICE_SESSIONS
from tests.serving import Api, Caller, serving, until

RECORD_STATE = """
    create table states (state text[] not null);
    create function session_state() returns bool language plpgsql as $$
    begin
        insert into states values (array(
            select 'setting ' || name from pg_settings where source = 'session'
            union all select 'lock ' || locktype from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'
            union all select 'channel ' || name from pg_listening_channels() as name
            union all select 'table ' || relname from pg_class where relnamespace = pg_my_temp_schema()
            union all select 'cursor ' || name from pg_cursors where is_holdable
        ));
        return true;
    end
    $$;
    alter table _yoyo_migration rename to notes;
    create view _yoyo_migration as select migration_id from notes where session_state();
"""
"""Makes the readiness probe record the state of its session, which no other session can read."""

CHANGE_SESSION = """
    create function change_session() returns trigger language plpgsql as $$ begin {}; return new; end $$;
    create trigger change_session before insert on tasks for each row execute function change_session();
"""


Rows = Callable[..., list[Any]]


@pytest.fixture
def api(database: str, rows: Rows) -> Iterator[Api]:
    """The service with one connection, whose state the probe records every 50 ms."""
    rows(RECORD_STATE)
    with serving(database_url=database, pool_min_size=1, pool_max_size=1, probe_interval=0.05) as running:
        yield running


@pytest.fixture
def quiet(database: str) -> Iterator[Api]:
    """The service with one connection that only requests use."""
    with serving(database_url=database, pool_min_size=1, pool_max_size=1, probe_interval=3600) as running:
        yield running


def call_each(caller: Caller) -> None:
    """Call every operation with success and with failure. The first task of the user also makes a statement fail."""
    task_id = caller.create(title="x").json()["id"]
    task = f"{caller.tasks}/{task_id}"
    answers = [
        caller.create(title="y"),
        caller.request("POST", caller.tasks, json={"title": "z"}, headers={"Idempotency-Key": "z"}),
        caller.list(),
        *(caller.request("GET", caller.tasks, params={"sort": sort}) for sort in ("created_at", "-updated_at")),
        caller.get(task_id),
        caller.update(task_id, title="z"),
        caller.request("PUT", task, json={"title": "z"}, headers={"If-Match": '"1"'}),
        caller.complete(task_id),
        caller.delete(task_id),
        caller.get(task_id),
        caller.update(task_id, title="z"),
        caller.complete(str(uuid4())),
        caller.delete(task_id),
    ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [201, 201, 200, 200, 200, 200, 200, 412, 200, 204, 404, 404, 404, 404]


def session_state(rows: Rows) -> list[str]:
    """The state of the session that the next probe records."""
    rows("truncate states")
    until(lambda: rows("select state from states"))
    state: list[str] = rows("select state from states")[0][0]
    return state


def test_session_is_reset_after_every_operation(ada: Caller, rows: Rows) -> None:
    call_each(ada)

    assert session_state(rows) == []


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("perform set_config('work_mem', '8MB', false)", "setting work_mem"),
        ("perform pg_advisory_lock(7)", "lock advisory"),
        ("listen news", "channel news"),
        ("create temporary table titles ()", "table titles"),
    ],
)
def test_changed_session_is_detected(ada: Caller, rows: Rows, change: str, state: str) -> None:
    rows(CHANGE_SESSION.format(change))

    ada.create(title="x")

    assert state in session_state(rows)


def test_session_is_idle_and_holds_no_lock_after_every_operation(quiet: Api, rows: Rows) -> None:
    call_each(quiet.caller())

    assert rows(f"select state {SERVICE_SESSIONS}") == [("idle",)]
    assert rows(f"select relation from pg_locks where pid in (select pid {SERVICE_SESSIONS})") == []


def test_session_shows_the_name_of_the_last_statement(quiet: Api, rows: Rows) -> None:
    quiet.caller().list()

    ((query,),) = rows(f"select query {SERVICE_SESSIONS}")
    assert query.startswith("-- list_tasks: ")
