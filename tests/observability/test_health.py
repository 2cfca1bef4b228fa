"""The probes: their responses, and how readiness depends on the database."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import is_ready
from service.db.migrations import bundled
from service.settings import ROOT
from tests.proxy import Proxy
from tests.serving import Api, refused, serving, until


def unready(api: Api) -> list[str]:
    """The reasons why the service is not ready. Empty if it is ready."""
    response = api.anonymous.get("/readyz")
    if response.status_code == 200:
        return []
    assert refused(response) == "about:blank"
    assert response.json()["detail"] == "The service is not ready."
    assert {error["type"] for error in response.json()["errors"]} == {"unready"}
    return [error["msg"] for error in response.json()["errors"]]


def test_health_and_livez_are_200(api: Api) -> None:
    assert api.anonymous.get("/health").json() == {"status": "healthy"}
    assert api.anonymous.get("/livez").json() == {"status": "alive"}


def test_readyz_shows_the_pool_and_the_age_of_the_last_answer(api: Api) -> None:
    until(lambda: api.pool() == {"open": 2, "idle": 2, "waiting": 0})
    document = api.anonymous.get("/readyz").json()
    assert list(document) == ["status", "last_answer_seconds", "pool"]
    assert document["status"] == "ready"
    assert 0 <= document["last_answer_seconds"] < 5


def test_readyz_names_the_migrations_that_have_not_run(api: Api, rows: Callable[..., list[Any]]) -> None:
    until(lambda: not unready(api))
    last = bundled()[-1]
    rows("update _yoyo_migration set migration_id = 'another' where migration_id = %s", last)
    until(lambda: unready(api) == [f"migrations have not run: {last}"])
    rows("alter table _yoyo_migration rename to away")
    until(lambda: unready(api) == [f"migrations have not run: {', '.join(bundled())}"])
    assert api.anonymous.get("/livez").status_code == 200
    rows("update away set migration_id = %s where migration_id = 'another'", last)
    rows("alter table away rename to _yoyo_migration")
    until(lambda: not unready(api))


def test_readyz_distinguishes_a_silent_database_from_a_lost_one(proxy: Proxy) -> None:
    reasons: list[str] = []

    def has_reason(start: str) -> bool:
        reasons.extend(unready(api))
        return any(reason.startswith(start) for reason in reasons)

    with serving(database_url=proxy.url, pool_min_size=5, probe_interval=0.05, statement_timeout=0.2) as api:
        api.fill()
        proxy.freeze()
        until(lambda: has_reason("no connection to the database"))
        assert any(reason.startswith("the database has not answered: ") for reason in reasons)
        assert api.anonymous.get("/livez").status_code == 200
        proxy.thaw()
        until(lambda: not unready(api))


RENAME = "alter table tasks rename {} to {}"


@pytest.mark.parametrize(
    ("change", "undo", "reasons"),
    [
        (RENAME.format("title", "name"), RENAME.format("name", "title"), ["get_task", "update_task"]),
        (
            "alter database {} set default_transaction_read_only = on",
            "begin read write; alter database {} reset all; commit",
            ["update_task"],
        ),
    ],
)
def test_readyz_names_a_cause_that_all_statements_share(
    database: str, rows: Callable[..., list[Any]], printed: Path, change: str, undo: str, reasons: list[str]
) -> None:
    (name,) = rows("select current_database()")[0]
    with serving(database_url=database, probe_interval=0.05, log_level="warning", prepared_statements=False) as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        until(lambda: not unready(api))
        rows(change.replace("{}", name))
        rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'task-service'")
        until(
            lambda: (
                ada.update(task_id, title="y").status_code == 503
                and [reason.split()[0] for reason in unready(api)] == reasons
            )
        )
        assert api.anonymous.get("/livez").status_code == 200
        rows(undo.replace("{}", name))
        rows("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'task-service'")
        until(lambda: not unready(api))
        until(lambda: '"message":"ready"' in printed.read_text())

    assert '"message":"not ready: ' in printed.read_text()


def test_readyz_stays_ready_when_one_statement_fails_for_its_own_cause(
    database: str, rows: Callable[..., list[Any]]
) -> None:
    rows("create function fail() returns trigger language plpgsql as $$ begin perform from nowhere; end $$")
    rows("create trigger fail before delete on tasks for each row execute function fail()")
    with serving(database_url=database, probe_interval=0.05) as api:
        ada = api.caller()
        assert ada.delete(ada.create(title="x").json()["id"]).status_code == 503
        until(lambda: not unready(api))
        time.sleep(0.2)  # several checks
        assert not unready(api)


def test_health_command_exits_with_0_when_ready(api: Api) -> None:
    def health(port: int) -> int:
        environment = {"PATH": os.environ["PATH"], "PORT": str(port)}
        return subprocess.run([sys.executable, "-m", "service", "health"], cwd=ROOT, env=environment).returncode

    until(lambda: not unready(api))
    assert (health(api.address[1]), health(1)) == (0, 1)


@pytest.mark.parametrize(
    ("host", "called"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("a.example", "a.example")],
)
def test_health_command_calls_an_address_of_this_machine(
    host: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: list[str] = []

    def urlopen(url: str, timeout: float) -> Any:
        urls.append(url)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert not is_ready(host, "4000")
    assert urls == [f"http://{called}:4000/readyz"]
