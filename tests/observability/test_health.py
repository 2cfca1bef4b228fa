"""The probes: their answers, and how readiness follows the database."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from service.__main__ import is_ready
from service.db.migrations import bundled
from service.settings import ROOT
from tests.proxy import Proxy
from tests.serving import Api, refused, serving, until


def unready(api: Api) -> list[str]:
    """The reasons why the service is not ready. Empty when it is."""
    response = api.anonymous.get("/readyz")
    if response.status_code == 200:
        return []
    assert refused(response) == "about:blank"
    assert {error["type"] for error in response.json()["errors"]} == {"unready"}
    return [error["msg"] for error in response.json()["errors"]]


def test_health_and_livez_say_that_the_process_answers(api: Api) -> None:
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


def test_readyz_tells_silence_from_absence_and_livez_neither(proxy: Proxy) -> None:
    said: list[str] = []

    def says(reason: str) -> bool:
        said.extend(unready(api))
        return reason in said

    with serving(database_url=proxy.url, pool_min_size=5, probe_interval=0.05, statement_timeout=0.2) as api:
        api.fill()
        proxy.freeze()
        until(lambda: says("no connection to the database"))
        assert any(reason.startswith("the database has not answered for ") for reason in said)
        assert api.anonymous.get("/livez").status_code == 200
        proxy.thaw()
        until(lambda: not unready(api))


def test_the_health_command_exits_with_0_when_ready(api: Api) -> None:
    def health(port: int) -> int:
        environment = {"PATH": os.environ["PATH"], "PORT": str(port)}
        return subprocess.run([sys.executable, "-m", "service", "health"], cwd=ROOT, env=environment).returncode

    until(lambda: not unready(api))
    assert (health(api.address[1]), health(1)) == (0, 1)


@pytest.mark.parametrize(
    ("host", "called"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("a.example", "a.example")],
)
def test_the_health_command_calls_an_address_that_leads_here(
    host: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: list[str] = []

    def urlopen(url: str, timeout: float) -> Any:
        urls.append(url)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert not is_ready(host, "4000")
    assert urls == [f"http://{called}:4000/readyz"]
