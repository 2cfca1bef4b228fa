"""The service behind PgBouncer in transaction mode, where there is one on this machine, and what poolers require."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict

from service.auth.authenticator import Authenticator
from service.db import connector, driver
from service.db.errors import PreparedStatementsUnsupported
from service.db.statements import Statement, tenant_statements
from service.db.url import for_psycopg
from service.observability.health import Health
from service.tasks.handlers import CREATE_TASK
from tests.database import BLOCKED, locked, opened
from tests.ports import free_port
from tests.serving import Api, Caller, refused, serving, until

Rows = Callable[..., list[Any]]

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:{os.defpath}:/usr/sbin")
REMEDY = b"the pooler keeps no prepared statements: set PREPARED_STATEMENTS=false"
WITHOUT_SUPPORT: dict[str, object] = {"max_prepared_statements": 0}
WITH_SUPPORT: dict[str, object] = {"max_prepared_statements": 200}


def pgbouncer_version() -> tuple[int, ...]:
    """The version of the PgBouncer on this machine, (0,) where there is none."""
    if PGBOUNCER is None:
        return (0,)
    printed = subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", printed.partition("\n")[0])))


needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer")
needs_support = pytest.mark.skipif(pgbouncer_version() < (1, 21), reason="needs PgBouncer 1.21 or later")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as executor:
        yield executor


@contextmanager
def pgbouncer(database: str, folder: Path, **options: object) -> Iterator[str]:
    """PgBouncer in front of `database`. Yields the URL of the database behind it."""
    if pgbouncer_version() < (1, 21):
        options.pop("max_prepared_statements", None)  # refused as unknown
    given = conninfo_to_dict(for_psycopg(database))
    port = free_port()
    target = " ".join(f"{name}={given[name]}" for name in ("host", "port", "user", "password") if name in given)
    settings = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any"}
    settings |= {"pool_mode": "transaction", "default_pool_size": 2, **options}
    configuration = folder / "pgbouncer.ini"
    lines = ["[databases]", f"* = {target}", "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
    configuration.write_text("\n".join(lines))
    for parent in (folder, *folder.parents):  # it refuses to run as root
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    account: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    with subprocess.Popen([str(PGBOUNCER), "-q", str(configuration)], stderr=subprocess.DEVNULL, **account) as pooler:
        try:
            yield f"postgresql://127.0.0.1:{port}/{given['dbname']}"
        finally:
            pooler.terminate()


def life(ada: Caller) -> list[int]:
    """The statuses of one task's operations."""
    answers = [ada.create(title="x")]
    task_id = answers[0].json().get("id", uuid4())
    answers += [ada.get(task_id), ada.update(task_id, title="y"), ada.complete(task_id), ada.list()]
    answers += [ada.delete(task_id), ada.get(task_id)]
    return [answer.status_code for answer in answers]


LIFE = [201, 200, 200, 200, 200, 204, 404]


def life_after_refusals(statuses: list[int]) -> list[int]:
    """What the operations of `life` that were not refused return, given that refused ones changed nothing."""
    create, delete = statuses[0], statuses[5]
    if create == 503:
        return [503, 404, 404, 404, 200, 404, 404]
    return [*LIFE[:-1], 200 if delete == 503 else 404]


def unready(api: Api) -> list[str]:
    """The reasons why the service is not ready."""
    return [error["msg"] for error in api.anonymous.get("/readyz").json().get("errors", [])]


async def test_prepared_statements_are_named_by_their_text(database: str) -> None:
    async with opened(database) as pool:
        await pool.probe(Statement("applied_migrations"))
        rows = await pool.idle[0].driver.fetch("select name, statement from pg_prepared_statements where name > ''")
    names = {name: text for name, text in rows if text != driver.SHOW_LEVEL}
    assert len(names) == len(tenant_statements())
    assert names == {sha256(text.encode()).hexdigest()[:32]: text for text in names.values()}


async def test_unknown_prepared_statement_closes_the_connection(database: str) -> None:
    async with opened(database) as pool:
        connection = pool.idle[0]
        health = Health(pool._settings, pool, Authenticator(pool._settings))
        assert REMEDY not in health.readyz().body
        await connection.driver.execute("deallocate all")
        with pytest.raises(PreparedStatementsUnsupported):
            await pool.run(CREATE_TASK, uuid4(), "x", None, False)
        assert connection.driver.is_closed()
        assert REMEDY in health.readyz().body


async def test_prepared_statement_name_in_use_fails_the_connect(database: str) -> None:
    async with opened(database) as pool:
        with pytest.raises(PreparedStatementsUnsupported):
            await pool.idle[0].prepare(tenant_statements())


@needs_pgbouncer
def test_two_releases_behind_a_pooler_without_prepared_statements_name_the_remedy(
    database: str, tmp_path: Path, printed: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statements_of_another_release() -> list[Statement]:
        statements = tenant_statements()
        for statement in statements:
            statement.text += "-- of another release\n"
        return statements

    with (
        pgbouncer(database, tmp_path, **WITHOUT_SUPPORT) as url,
        serving(database_url=url, pool_min_size=3, log_level="warning") as api,
    ):
        monkeypatch.setattr(connector, "tenant_statements", statements_of_another_release)
        with serving(database_url=url, pool_min_size=3, log_level="warning") as other:
            for _ in range(3):
                lives = [threads.submit(life, each.caller()) for _ in range(5) for each in (api, other)]
                for statuses in (run.result() for run in lives):
                    right = zip(statuses, life_after_refusals(statuses), strict=True)
                    assert all(status in (expected, 503) for status, expected in right), statuses
            until(lambda: unready(api) == unready(other) == [REMEDY.decode()])
    assert REMEDY.decode() in printed.read_text()


@pytest.mark.parametrize("place", ["direct", pytest.param("pgbouncer", marks=needs_pgbouncer)])
@pytest.mark.parametrize("parameter", ["", "pgbouncer=true", "statement_cache_size=0"])
def test_all_operations_work_without_prepared_statements(
    database: str, tmp_path: Path, threads: ThreadPoolExecutor, place: str, parameter: str
) -> None:
    pooled = nullcontext(database) if place == "direct" else pgbouncer(database, tmp_path, **WITHOUT_SUPPORT)
    setting = {} if parameter else {"prepared_statements": False}
    with pooled as url, serving(database_url=f"{url}{'&' if '?' in url else '?'}{parameter}", **setting) as api:
        assert not api.settings.prepared_statements
        until(lambda: api.pool())
        lives = [threads.submit(life, api.caller()) for _ in range(20)]
        assert [run.result() for run in lives] == [LIFE] * 20


@needs_support
def test_type_change_behind_a_pooler_recovers_in_running_and_new_processes(
    database: str, tmp_path: Path, rows: Rows, threads: ThreadPoolExecutor
) -> None:
    def lives(api: Api) -> None:
        runs = [threads.submit(life, api.caller()) for _ in range(10)]
        assert [run.result() for run in runs] == [LIFE] * 10

    with pgbouncer(database, tmp_path, **WITH_SUPPORT) as url, serving(database_url=url, pool_min_size=3) as running:
        until(lambda: running.pool().get("open") == 3)
        lives(running)
        for size in (600, 700):
            rows(f"alter table tasks alter column title type varchar({size})")
            rows(f"alter table tasks alter column description type {'text' if size == 700 else 'varchar'}")
            lives(running)
            with serving(database_url=url, pool_min_size=3) as new:
                until(lambda: new.pool().get("open") == 3)
                lives(new)


@needs_pgbouncer
def test_write_that_waited_in_a_pooler_was_not_saved(
    database: str, tmp_path: Path, rows: Rows, threads: ThreadPoolExecutor
) -> None:
    options = {"default_pool_size": 1, "query_wait_timeout": 1} | WITH_SUPPORT
    with (
        pgbouncer(database, tmp_path, **options) as url,
        serving(database_url=url, prepared_statements=False, statement_timeout=30, pool_min_size=2) as api,
    ):
        ada = api.caller()
        until(lambda: api.pool().get("open") == 2)
        ada.create(title="x")
        with locked(database, "exclusive"):
            held = threads.submit(ada.create, title="y")
            until(lambda: rows(BLOCKED))
            assert refused(ada.create(title="z")) == "about:blank"  # and not UNKNOWN
        assert held.result().status_code == 201
        until(lambda: ada.list().status_code == 200)
        assert [task["title"] for task in ada.list().json()] == ["y", "x"]
