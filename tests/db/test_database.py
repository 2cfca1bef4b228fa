"""The pool and its deadlines against a real server that is slow, away, wrong, or changed under our feet."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import uvloop
from psycopg import sql

from service.db import connections, connector
from service.db import database as database_module
from service.db.connector import CONCURRENT_ATTEMPTS
from service.db.database import Database
from service.db.errors import DatabaseUnavailable
from service.db.happy_eyeballs import HappyEyeballsLoop
from service.db.migrations import migrate
from service.db.statements import Statement
from service.db.url import for_psycopg
from service.dev.postgres import embedded_postgres
from service.settings import read_settings
from service.tasks.handlers import CREATE_TASK, GET_TASK
from tests.database import BLOCKED, SERVICE_SESSIONS, SESSIONS, TERMINATE, locked, name_of, opened
from tests.proxy import SSL_REQUEST, Proxy, proxied
from tests.serving import SECRET, UNKNOWN, Api, Caller, refused, serving, until
from tests.wire import Wire, request

if TYPE_CHECKING:
    from tests.conftest import Postgres

Rows = Callable[..., list[Any]]

UNBATCHED = Statement("get_task")
"""A read that needs a connection of its own."""


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as executor:
        yield executor


# Deadlines


def test_requests_wait_for_a_connection_no_longer_than_its_deadline(
    database: str, rows: Rows, threads: ThreadPoolExecutor
) -> None:
    one = {"pool_min_size": 1, "pool_max_size": 1, "acquire_timeout": 0.1, "statement_timeout": 30}
    with serving(database_url=database, **one) as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        api.fill()
        with locked(database, "exclusive"):
            held = threads.submit(ada.create, title="y")
            until(lambda: rows(BLOCKED))
            assert refused(ada.list()) == refused(ada.get(task_id)) == "about:blank"
            assert refused(ada.create(title="z")) == refused(ada.delete(task_id)) == "about:blank"
            assert not held.done()
        assert held.result().status_code == 201
        assert [task["title"] for task in ada.list().json()] == ["y", "x"]


async def test_connections_that_cannot_be_prepared_leave_no_session_behind(database: str, rows: Rows) -> None:
    async with opened(database, statement_timeout=0.1) as pool:
        with locked(database, "access exclusive"):
            pool.expire()
            await asyncio.sleep(3)
            assert pool.failure
            assert len(rows(SESSIONS)) <= CONCURRENT_ATTEMPTS


async def test_connections_that_are_opened_at_the_stop_leave_no_session_behind(database: str, rows: Rows) -> None:
    async with opened(database, statement_timeout=30) as pool:
        with locked(database, "access exclusive"):
            pool.expire()
            await asyncio.to_thread(until, lambda: rows(BLOCKED))
            await pool.close()
            await asyncio.to_thread(until, lambda: not rows(SESSIONS))


def test_stop_while_a_tls_server_is_silent_leaves_no_transport_to_the_event_loop(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.1)

    async def open_and_close(proxy: Proxy, silence: ExitStack) -> None:
        values = {"DATABASE_URL": proxy.url, "JWT_SECRET": SECRET, "POOL_MIN_SIZE": "5", "ACQUIRE_TIMEOUT": "0.1"}
        pool = Database(read_settings(values))
        proxy.lose_answers_to(b"user\0")
        sent = proxy.record()
        await pool.open()
        await asyncio.to_thread(until, lambda: b"user\0" in sent)  # an attempt is past the handshake of TLS
        silence.enter_context(proxy.blocked())
        await pool.close()

    with proxied(database, tls=True) as proxy, ExitStack() as silence:
        uvloop.run(open_and_close(proxy, silence))  # it raises OSError when a transport is open at its end


async def test_statement_that_times_out_on_an_expired_connection_leaves_no_session_behind(
    database: str, rows: Rows
) -> None:
    async with opened(database, statement_timeout=0.5) as pool:
        with locked(database, "access exclusive"):
            call = asyncio.ensure_future(pool.run(GET_TASK, uuid4(), uuid4()))
            await asyncio.to_thread(until, lambda: rows(BLOCKED))
            (session,) = rows(BLOCKED)
            pool.expire()
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.to_thread(until, lambda: session not in rows(SESSIONS))


def test_statements_end_at_their_deadline_and_leave_nothing_behind(database: str, rows: Rows) -> None:
    with serving(database_url=database, statement_timeout=0.3) as api:
        ada = api.caller()
        task = ada.create(title="x").json()
        api.fill()
        with locked(database, "access exclusive"):
            assert [refused(ada.list()), refused(ada.get(task["id"]))] == ["about:blank"] * 2
            until(lambda: not rows(BLOCKED))
            assert refused(ada.create(title="y")) == UNKNOWN
            assert refused(ada.update(task["id"], title="y")) == UNKNOWN
            until(lambda: not rows(BLOCKED))
            assert refused(ada.complete(task["id"])) == UNKNOWN
            assert refused(ada.delete(task["id"])) == UNKNOWN
            until(lambda: not rows(BLOCKED))
        assert ada.list().json() == [task]


def test_more_than_max_waiting_are_refused_at_once(database: str, rows: Rows, threads: ThreadPoolExecutor) -> None:
    one = {"pool_min_size": 1, "pool_max_size": 1, "max_waiting": 1, "acquire_timeout": 30, "statement_timeout": 30}
    with serving(database_url=database, **one) as api:
        ada = api.caller()
        ada.create(title="x")
        api.fill()
        with locked(database, "exclusive"):
            held = threads.submit(ada.create, title="y")
            until(lambda: rows(BLOCKED))
            waits = threads.submit(ada.create, title="z")
            until(lambda: api.pool()["waiting"] == 1)
            shed = ada.create(title="shed")
            assert refused(shed) == "about:blank"
            assert shed.json()["detail"] == "Too many requests are waiting. Try again."
            assert api.anonymous.get("/livez").status_code == 200
            assert not held.done()
            assert not waits.done()
        assert held.result().status_code == waits.result().status_code == 201


# A database that is away


def test_service_starts_without_its_database_and_recovers(
    database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "MAINTENANCE_SECONDS", 0.02)
    proxy.down()
    url = proxy.url.replace(":@", ":hunter2@")
    with serving(database_url=url, log_level="warning") as api:
        ada = api.caller()
        for path, status in {"/livez": 200, "/health": 200, "/readyz": 503}.items():
            assert api.anonymous.get(path).status_code == status
        assert api.anonymous.get(ada.tasks).status_code == 401
        assert refused(ada.list()) == refused(ada.create(title="x")) == "about:blank"
        time.sleep(0.1)  # for some attempts that fail alike
        proxy.up()
        until(lambda: api.anonymous.get("/readyz").status_code == 200)
        assert ada.create(title="x").status_code == 201

    printed = capfd.readouterr().out
    said = [
        line["message"]
        for line in map(json.loads, printed.splitlines())
        if line.get("logger") == "service.db.connector"
    ]
    assert said[0].startswith("the database cannot be reached: ConnectionRefusedError: ")
    assert said[1:] == ["the database answers again"]
    assert "hunter2" not in printed


def test_service_waits_for_its_database_and_then_for_its_migrations(
    database: str, empty_database: str, postgres: "Postgres"
) -> None:
    postgres.execute("drop database {}", name_of(empty_database))
    with serving(database_url=empty_database) as api:
        ada = api.caller()

        def unready() -> list[str]:
            return [error["msg"] for error in api.anonymous.get("/readyz").json().get("errors", [])]

        until(lambda: unready()[0].startswith("no connection to the database: "))  # with the failure of an attempt
        assert refused(ada.create(title="x")) == "about:blank"
        postgres.execute("create database {}", name_of(empty_database))
        until(lambda: unready() == ["migrations have not run"])
        assert refused(ada.create(title="x")) == "about:blank"
        migrate(empty_database)
        until(lambda: not unready())
        assert ada.create(title="x").status_code == 201


def test_connections_that_are_killed_are_replaced(
    database: str, rows: Rows, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 30)
    # Of two connections a probe may have one: with more allowed, the write would open a third, which is blocked too.
    bounds = {"pool_max_size": 2, "statement_timeout": 30, "acquire_timeout": 30}
    with serving(database_url=database, **bounds) as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        api.fill()
        with locked(database, "access exclusive"):
            read = threads.submit(ada.get, task_id)
            until(lambda: len(rows(BLOCKED)) == 1)
            write = threads.submit(ada.create, title="y")
            until(lambda: len(rows(BLOCKED)) == 2)
            rows(TERMINATE)
            assert refused(write.result()) == UNKNOWN
        assert read.result().status_code == 200
        api.fill()
        ended = set(rows(f"select pid {SERVICE_SESSIONS}"))
        rows(TERMINATE)
        until(lambda: not ended & set(rows(f"select pid {SERVICE_SESSIONS}")))
        assert [ada.get(task_id).status_code for _ in range(3)] == [200] * 3
        api.fill()
        assert [task["title"] for task in ada.list().json()] == ["x"]


def test_statement_that_is_cancelled_keeps_its_connection(
    database: str, rows: Rows, threads: ThreadPoolExecutor
) -> None:
    with serving(database_url=database, statement_timeout=30) as api:
        ada = api.caller()
        task = ada.create(title="x").json()
        api.fill()
        before = set(rows(f"select pid {SERVICE_SESSIONS}"))
        with locked(database, "access exclusive"):
            for call in (ada.list, lambda: ada.get(task["id"]), lambda: ada.create(title="y")):
                answer = threads.submit(call)
                until(lambda: rows(BLOCKED))
                rows(f"select pg_cancel_backend(pid) from ({BLOCKED}) as blocked")
                assert refused(answer.result()) == "about:blank"  # a write that was cancelled was not made
        assert ada.list().json() == [task]
        assert set(rows(f"select pid {SERVICE_SESSIONS}")) == before


def test_frozen_database_times_out_and_is_used_again(proxy: Proxy) -> None:
    with serving(database_url=proxy.url, acquire_timeout=0.1, statement_timeout=0.1) as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        proxy.freeze()
        assert refused(ada.get(task_id)) == "about:blank"
        assert refused(ada.update(task_id, title="y")) in (UNKNOWN, "about:blank")
        for _ in range(5):
            refused(ada.get(task_id))
        assert api.anonymous.get("/livez").status_code == 200
        proxy.thaw()
        until(lambda: ada.get(task_id).status_code == 200)
        api.fill()


def test_connections_that_never_answer_again_are_replaced(proxy: Proxy) -> None:
    with serving(database_url=proxy.url, pool_max_size=2, acquire_timeout=0.1, statement_timeout=0.1) as api:
        ada = api.caller()
        api.fill()
        answers = (ada.create(title="x") for _ in range(100))  # the time limits are short for a busy machine
        task_id = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
        proxy.deafen()
        until(lambda: ada.get(task_id).status_code == 200)
        until(lambda: ada.update(task_id, title="y").status_code == 200)


async def test_connection_that_fails_its_check_is_closed(proxy: Proxy) -> None:
    async with opened(proxy.url, statement_timeout=0.1) as database_pool:
        connection = database_pool.idle.pop()
        connection.needs_check = True
        proxy.deafen()
        database_pool.release(connection)
        await asyncio.to_thread(until, lambda: database_pool.idle)
        assert connection.driver.is_closed()
        assert connection not in database_pool.connections


async def test_terminated_attempts_to_connect_do_not_mean_that_the_database_is_away(database: str, rows: Rows) -> None:
    values = {"DATABASE_URL": database, "JWT_SECRET": SECRET, "POOL_MIN_SIZE": "1", "ACQUIRE_TIMEOUT": "0.05"}
    database_pool = Database(read_settings(values))
    terminated: set[int] = set()

    def preparing() -> set[int]:
        """Connections that wait for the lock while they prepare the statements."""
        return {pid for (pid,) in rows(BLOCKED)} - terminated

    with locked(database, "access exclusive"):
        await database_pool.open()
        for _ in range(connector.ATTEMPTS + 1):
            await asyncio.to_thread(until, preparing)
            terminated |= preparing()
            rows(TERMINATE)
        await asyncio.to_thread(until, preparing)
        assert len(terminated) > connector.ATTEMPTS
        assert database_pool.failure is None
    await asyncio.to_thread(until, lambda: database_pool.idle)
    await database_pool.close()


async def test_silent_database_gets_few_concurrent_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAINTENANCE_SECONDS", 0.01)
    attempts: list[int] = []
    ended: list[int] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(len(attempts) - len(ended) + 1)
        await reader.read(-1)
        ended.append(1)
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        url = f"postgresql://127.0.0.1:{server.sockets[0].getsockname()[1]}/x?sslmode=disable"
        values = {"DATABASE_URL": url, "JWT_SECRET": SECRET, "CONNECT_TIMEOUT": "0.1"}
        database_pool = Database(read_settings(values))
        await database_pool.open()
        await asyncio.sleep(0.3)
        await database_pool.close()
    assert len(attempts) > connector.CONCURRENT_ATTEMPTS
    assert max(attempts) <= connector.CONCURRENT_ATTEMPTS + 1  # one may end here later than there


# The size of the pool


async def test_burst_opens_no_more_than_the_pool_may_hold(database: str, rows: Rows) -> None:
    async with opened(database, pool_max_size=3) as database_pool:
        nobody = uuid4()
        burst = asyncio.gather(*(database_pool.run(UNBATCHED, uuid4(), nobody) for _ in range(50)))
        await asyncio.sleep(0)
        assert database_pool.waiting_requests == 49
        assert await burst == [[]] * 50
        await asyncio.to_thread(until, lambda: len(database_pool.idle) == 3)
        assert len(database_pool.connections) == len(rows(f"select pid {SERVICE_SESSIONS}")) == 3


def test_connections_above_the_minimum_are_closed_when_idle(
    database: str, rows: Rows, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAINTENANCE_SECONDS", 0.02)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.5)
    patient = {"acquire_timeout": 30, "statement_timeout": 30}
    with serving(database_url=database, pool_min_size=2, probe_interval=0.05, **patient) as api:
        ada = api.caller()
        ada.create(title="x")
        api.fill()
        with locked(database, "exclusive"):
            writes = [threads.submit(ada.create, title="y") for _ in range(8)]
            until(lambda: len(rows(BLOCKED)) >= 8)  # one more when a probe had a connection just then
        assert [write.result().status_code for write in writes] == [201] * 8
        assert len(rows(f"select pid {SERVICE_SESSIONS}")) >= 8
        until(lambda: len(rows(f"select pid {SERVICE_SESSIONS}")) == 2)
        time.sleep(0.1)
        assert len(rows(f"select pid {SERVICE_SESSIONS}")) == 2
        until(lambda: api.pool() == {"open": 2, "idle": 2, "waiting": 0})


# Callers who leave


def test_clients_that_hang_up_leak_no_connection(database: str, rows: Rows) -> None:
    with serving(database_url=database, pool_max_size=2, acquire_timeout=30, statement_timeout=30) as api:
        ada = api.caller()
        ada.create(title="x")
        create = request("POST", ada.tasks, f"Authorization: Bearer {ada.token}", body=b'{"title":"y"}')
        api.fill()
        with locked(database, "exclusive"):
            clients = [Wire(api.address).send(create) for _ in range(5)]
            until(lambda: len(rows(BLOCKED)) == 2)
            until(lambda: api.pool()["waiting"] == 3)
            for client in clients:
                client.close()
        until(lambda: api.pool() == {"open": 2, "idle": 2, "waiting": 0})
        assert len(ada.list().json()) == 6  # what a client sends and does not wait for is done all the same


async def test_tasks_that_are_cancelled_leak_no_connection(database: str) -> None:
    async with opened(database, pool_max_size=2) as database_pool:
        nobody = uuid4()
        with locked(database, "access exclusive"):
            calls = [
                asyncio.create_task(database_pool.run(CREATE_TASK, nobody, "x", None, False)),
                *(asyncio.create_task(database_pool.run(UNBATCHED, uuid4(), nobody)) for _ in range(5)),
            ]
            await asyncio.sleep(0.1)
            assert database_pool.waiting_requests == 5
            for call in calls:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            assert not database_pool.waiting_requests
        assert await database_pool.run(UNBATCHED, uuid4(), nobody) == []
        await asyncio.to_thread(until, lambda: len(database_pool.idle) == len(database_pool.connections) == 2)


async def test_connection_assigned_to_a_cancelled_caller_goes_to_the_next(database: str) -> None:
    async with opened(database, pool_max_size=1) as database_pool:
        connection = database_pool.idle.pop()
        leaves, stays = (
            asyncio.create_task(database_pool.acquire(uuid4())),
            asyncio.create_task(database_pool.acquire(uuid4())),
        )
        await asyncio.sleep(0)
        database_pool.release(connection)
        leaves.cancel()
        assert await stays is connection
        assert leaves.cancelled()
        database_pool.release(connection)
        assert database_pool.idle == [connection]


async def test_connection_is_not_assigned_to_a_cancelled_caller(database: str) -> None:
    async with opened(database, pool_max_size=1) as database_pool:
        ada = uuid4()
        connection = database_pool.idle.pop()
        leaves, stays = (
            asyncio.create_task(database_pool.acquire(ada)),
            asyncio.create_task(database_pool.acquire(uuid4())),
        )
        await asyncio.sleep(0)
        leaves.cancel()
        database_pool.release(connection)  # before the cancelled task has run
        async with asyncio.timeout(10):
            assert await stays is connection
        database_pool.release(connection)
        assert database_pool.idle == [connection]
        assert ada not in database_pool.queue.held


async def test_closing_the_pool_refuses_the_requests_that_wait_and_come_later(database: str, rows: Rows) -> None:
    async with opened(database, pool_max_size=1, acquire_timeout=30) as database_pool:
        database_pool.idle.pop()
        read, write = GET_TASK, CREATE_TASK
        waiting = [
            asyncio.create_task(database_pool.run(read, uuid4(), uuid4())),
            asyncio.create_task(database_pool.run(write, uuid4(), "x", None, False)),
        ]
        await asyncio.sleep(0)
        await database_pool.close()
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        assert {type(result) for result in results} == {DatabaseUnavailable}
        with pytest.raises(DatabaseUnavailable):
            await database_pool.run(read, uuid4(), uuid4())
        assert not rows(f"select pid {SERVICE_SESSIONS}")


# A database that changes


async def test_unused_connection_is_idle_without_a_transaction(database: str, rows: Rows) -> None:
    async with opened(database):
        assert rows(f"select state, xact_start {SERVICE_SESSIONS}") == [("idle", None)]


def test_schema_may_change_under_traffic(api: Api, rows: Rows, threads: ThreadPoolExecutor) -> None:
    def traffic(ada: Caller) -> set[int]:
        statuses = set()
        for _ in range(15):
            made = ada.create(title="x")
            assert made.status_code == 201, made.text
            task_id = made.json()["id"]
            calls = (ada.get, ada.complete, lambda task_id: ada.update(task_id, title="y"), ada.delete)
            statuses |= {ada.list().status_code, *(call(task_id).status_code for call in calls)}
        return statuses

    running = [threads.submit(traffic, api.caller()) for _ in range(3)]
    rows("alter table tasks add column note text")
    rows("alter table tasks alter column title type varchar(500)")
    rows("alter table tasks alter column description type varchar")
    assert [run.result() for run in running] == [{200, 204}] * 3


def test_read_only_server_serves_reads_and_recovers(
    api: Api, ada: Caller, database: str, rows: Rows, postgres: "Postgres"
) -> None:
    task = ada.create(title="x").json()
    postgres.execute("alter database {} set default_transaction_read_only = on", name_of(database))
    rows(TERMINATE)
    until(lambda: refused(ada.create(title="y")) == "about:blank")  # and no more a connection that was ended
    assert refused(ada.delete(task["id"])) == "about:blank"
    assert ada.list().json() == [task]
    postgres.execute("alter database {} reset default_transaction_read_only", name_of(database))
    until(lambda: ada.create(title="z").status_code == 201)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Callable[[str], str]]:
    """A server that asks `guarded` for a password, and has a synchronous standby that is away."""
    with TemporaryDirectory() as folder:
        access = Path(folder, "access")
        access.write_text("local all guarded scram-sha-256\nlocal all all trust\n")
        Path(folder).chmod(0o755)
        settings = {
            "fsync": "off",
            "hba_file": str(access),
            "synchronous_standby_names": "nobody",
            "synchronous_commit": "local",  # but where a test says otherwise
        }
        with embedded_postgres(Path(folder, "postgres"), settings) as url_of:
            migrate(url_of("tasks"))
            yield url_of


def test_wrong_password_is_logged_without_its_value_and_can_be_corrected(
    own_server: Callable[[str], str], printed: Path
) -> None:
    with (
        psycopg.connect(for_psycopg(own_server("tasks")), autocommit=True) as admin,
        serving(database_url=own_server("tasks").replace("postgres@", "guarded:hunter2@"), log_level="info") as api,
    ):
        admin.execute("create role guarded superuser login password 'another'")
        until(lambda: "password authentication failed" in printed.read_text())
        assert refused(api.caller().list()) == "about:blank"
        admin.execute("alter role guarded password 'hunter2'")
        until(lambda: api.anonymous.get("/readyz").status_code == 200)
        assert api.caller().list().status_code == 200
    assert "hunter2" not in printed.read_text()


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_write_without_a_synchronous_standby_is_outcome_unknown(
    own_server: Callable[[str], str], threads: ThreadPoolExecutor, how: str
) -> None:
    url = own_server("tasks")
    with psycopg.connect(for_psycopg(url), autocommit=True) as admin:
        admin.execute("alter database tasks set synchronous_commit = on")
        with serving(database_url=url, statement_timeout=30, pool_max_size=2) as api:
            api.fill()  # of connections that wait for the standby, unlike those opened from now on
            admin.execute("alter database tasks reset synchronous_commit")
            ada = api.caller()
            admin.execute("insert into users values (%s)", [ada.id])
            waits = threads.submit(ada.create, title="x")
            stop = sql.SQL("select {}(pid) from pg_stat_activity where wait_event = 'SyncRep'").format(sql.SQL(how))
            until(lambda: admin.execute(stop).fetchall())
            assert refused(waits.result()) == UNKNOWN
            assert [task["title"] for task in ada.list().json()] == ["x"]


# The ways to name a database


@pytest.mark.parametrize(
    "form",
    [
        "postgres://{user}@{host}/{name}",
        "postgresql://{user}@{host}/{name}?sslmode=prefer&channel_binding=prefer",
        "postgresql+asyncpg://{user}@{host}/{name}?ssl=disable",
        "postgresql://{user}@127.0.0.1:1,{host}/{name}",
        "postgres://{user}@{host},127.0.0.1:1/{name}?sslmode=allow&target_session_attrs=any",
    ],
)
def test_every_form_of_database_url_serves(proxy: Proxy, form: str) -> None:
    user, _, rest = proxy.url.removeprefix("postgresql://").partition("@")
    host, _, name = rest.partition("?")[0].partition("/")
    with serving(database_url=form.format(user=user, host=host, name=name), pool_min_size=1) as api:
        assert api.caller().create(title="x").status_code == 201


@pytest.mark.parametrize("required", ["sslmode=require", "ssl=require", "sslmode=verify-full&sslrootcert=system"])
def test_connection_that_requires_tls_is_never_made_without_it(proxy: Proxy, required: str) -> None:
    proxy.refuse_tls()
    sent = proxy.record()
    with serving(database_url=f"{proxy.url.partition('?')[0]}?{required}") as api:
        assert refused(api.caller().list()) == "about:blank"
    attempts = sent.count(SSL_REQUEST)
    assert attempts
    assert sent == SSL_REQUEST * attempts


# Rules of the database's owner


@pytest.mark.parametrize(
    "rule",
    [
        "alter table tasks add constraint no_milk check (title !~ 'milk')",
        "create unique index one_of_each on tasks (user_id, title)",
        """create function refuse() returns trigger language plpgsql as $$ begin
            if new.title ~ 'milk' then raise exception 'no milk today'; end if; return new; end $$;
        create trigger refuse before insert or update on tasks for each row execute function refuse()""",
    ],
    ids=["check", "unique", "trigger"],
)
def test_rule_of_the_databases_owner_is_a_conflict(
    database: str, rows: Rows, printed: Path, rule: LiteralString
) -> None:
    rows(rule)
    with serving(database_url=database, log_level="warning") as api:
        ada = api.caller()
        ada.create(title="milk")
        task = ada.create(title="bread").json()
        refused_writes = [ada.create(title="milk"), ada.update(task["id"], title="milk")]
        assert [answer.status_code for answer in refused_writes] == [409, 409]
        assert "milk" not in refused_writes[0].text
        assert ada.get(task["id"]).json() == task
        assert ada.create(title="butter").status_code == 201
    assert re.search('"constraint":"(no_milk|one_of_each)"|"sqlstate":"P0001"', printed.read_text())


def test_warning_of_a_trigger_does_not_make_the_outcome_unknown(api: Api, ada: Caller, rows: Rows) -> None:
    rows(
        """create function warn() returns trigger language plpgsql as $$ begin
            raise warning 'the transaction has already committed locally'; return new; end $$;
        create trigger warn before insert or update on tasks for each row execute function warn()"""
    )
    task = ada.create(title="x")
    assert task.status_code == 201
    assert ada.complete(task.json()["id"]).status_code == 200


def test_server_that_hides_its_warnings_is_refused(database: str, postgres: "Postgres") -> None:
    postgres.execute("alter database {} set client_min_messages = error", name_of(database))
    with serving(database_url=database) as api:
        assert refused(api.caller().create(title="x")) == "about:blank"
        assert "client_min_messages" in api.anonymous.get("/readyz").text
        postgres.execute("alter database {} reset client_min_messages", name_of(database))
        until(lambda: api.anonymous.get("/readyz").status_code == 200)


def test_database_without_an_encoding_is_refused(postgres: "Postgres") -> None:
    postgres.execute("create database {} template template0 encoding 'SQL_ASCII'", "test_ascii")
    with serving(database_url=postgres.url("test_ascii")) as api:
        assert refused(api.caller().create(title="x")) == "about:blank"
        assert "SQL_ASCII" in api.anonymous.get("/readyz").text
    postgres.execute("drop database {} with (force)", "test_ascii")


def test_write_that_timed_out_is_answered_when_it_has_ended(
    database: str, rows: Rows, threads: ThreadPoolExecutor
) -> None:
    with serving(database_url=database, statement_timeout=0.2) as api:
        ada = api.caller()
        ada.create(title="x")
        api.fill()
        with locked(database, "exclusive"):
            assert refused(ada.create(title="y")) == UNKNOWN
            assert not rows(BLOCKED)
        assert [task["title"] for task in ada.list().json()] == ["x"]


def test_reads_stay_on_their_connections_beside_writes_to_a_read_only_database(
    database: str, rows: Rows, postgres: "Postgres"
) -> None:
    with serving(database_url=database, probe_interval=60) as api:  # else readiness would try writes too
        ada = api.caller()
        task = ada.create(title="x").json()
        postgres.execute("alter database {} set default_transaction_read_only = on", name_of(database))
        rows(TERMINATE)
        until(lambda: refused(ada.create(title="y")) == "about:blank")
        until(lambda: ada.get(task["id"]).status_code == 200)
        api.fill()
        before = set(rows(f"select pid {SERVICE_SESSIONS}"))
        for _ in range(10):
            assert refused(ada.create(title="y")) == "about:blank"
            assert ada.get(task["id"]).status_code == 200
        assert set(rows(f"select pid {SERVICE_SESSIONS}")) == before


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_statement_that_was_rolled_back_is_run_again(api: Api, ada: Caller, rows: Rows, code: LiteralString) -> None:
    rows("create sequence attempts")
    rows("grant usage on sequence attempts to public")
    rows(
        f"""create function collide() returns trigger language plpgsql as $$ begin
            if nextval('attempts') < 3 then raise exception 'collision' using errcode = '{code}'; end if;
            return new; end $$"""
    )
    rows("create trigger collide before insert on tasks for each row execute function collide()")
    assert ada.create(title="x").status_code == 201
    assert [task["title"] for task in ada.list().json()] == ["x"]


def test_batched_reads_survive_a_long_lock_that_changes_the_table(
    database: str, rows: Rows, threads: ThreadPoolExecutor
) -> None:
    with serving(database_url=database, statement_timeout=30, acquire_timeout=30) as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        api.fill()
        with psycopg.connect(for_psycopg(database)) as migration:
            migration.execute("alter table tasks alter column title type varchar(500)")
            reads = [threads.submit(ada.get, task_id) for _ in range(20)]
            until(lambda: len(rows(BLOCKED)) >= 2)
            time.sleep(0.6)  # longer than a lost connection's retry may wait
        assert [read.result().status_code for read in reads] == [200] * 20


def test_next_address_of_a_host_name_is_tried_when_the_first_is_silent(
    database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(proxy.url)
    with socket.create_server(("127.0.0.9", parts.port or 0), backlog=0) as silent:
        full = [socket.socket() for _ in range(3)]  # its queue: further connections get no answer
        for client in full:
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, parts.port)) for host in ("127.0.0.9", "127.0.0.1")]

        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            return found

        monkeypatch.setattr(HappyEyeballsLoop, "getaddrinfo", getaddrinfo, raising=False)
        with serving(database_url=proxy.url, connect_timeout=5, acquire_timeout=5, pool_min_size=1) as api:
            assert api.caller().create(title="x").status_code == 201
        for client in full:
            client.close()
