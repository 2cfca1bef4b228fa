"""Server-Timing, over HTTP: there when it is asked for, with what took the time, and not there otherwise."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.db.url import for_psycopg
from tests.database import BLOCKED
from tests.serving import Api, Caller, serving, until

Rows = Callable[..., list[Any]]


@pytest.fixture
def timed(database: str) -> Iterator[Api]:
    with serving(database_url=database, server_timing=True, acquire_timeout=30, statement_timeout=30) as running:
        yield running


def milliseconds(answer: httpx.Response) -> dict[str, float]:
    parts = re.findall(r"(\w+);dur=(\d+\.\d+)(?:, |$)", answer.headers["server-timing"])
    assert [name for name, _ in parts] == ["auth", "wait", "db"]
    return {name: float(duration) for name, duration in parts}


def test_server_timing_is_off_by_default(ada: Caller) -> None:
    assert "server-timing" not in ada.list().headers


def test_server_timing_is_on_every_private_answer(timed: Api) -> None:
    ada = timed.caller()
    task = ada.create(title="x").json()["id"]
    worked = [ada.create(title="y"), ada.list(), ada.get(task), ada.update(task, title="z"), ada.complete(task)]
    worked += [ada.delete(task), ada.get(task)]

    for answer in worked:
        times = milliseconds(answer)
        assert times["db"] > 0
        assert sum(times.values()) <= answer.elapsed.total_seconds() * 1000


@pytest.mark.parametrize("authorization", ["Bearer none", None])
def test_server_timing_of_a_refusal_holds_no_database(timed: Api, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    times = milliseconds(timed.anonymous.get(f"/api/{uuid4()}/tasks", headers=headers))

    assert times["auth"] > 0
    assert times["wait"] == times["db"] == 0


def test_server_timing_tells_waiting_for_a_connection_from_waiting_for_the_database(database: str, rows: Rows) -> None:
    one = {"pool_min_size": 1, "pool_max_size": 1, "acquire_timeout": 0.3}
    with serving(database_url=database, server_timing=True, **one) as api, ThreadPoolExecutor(4) as crowd:
        ada = api.caller()
        task = ada.create(title="x").json()["id"]
        with psycopg.connect(for_psycopg(database)) as connection:
            connection.execute("lock table tasks")
            on_the_wire = crowd.submit(ada.complete, task)
            until(lambda: rows(BLOCKED))
            without_connection = list(crowd.map(lambda call: call(task), (ada.get, ada.complete, ada.delete)))

    assert milliseconds(on_the_wire.result())["db"] >= 300
    for answer in without_connection:
        assert answer.status_code == 503
        times = milliseconds(answer)
        assert times["wait"] >= 250 > times["db"]


def test_server_timing_of_reads_that_travel_together_is_their_batchs(timed: Api, database: str, rows: Rows) -> None:
    ada = timed.caller()
    task = ada.create(title="x").json()["id"]
    with ThreadPoolExecutor(20) as crowd:
        with psycopg.connect(for_psycopg(database)) as connection:
            connection.execute("lock table tasks")
            under_way = [crowd.submit(ada.list), crowd.submit(ada.get, task)]
            until(lambda: len(rows(BLOCKED)) == len(under_way))
            waiting = [crowd.submit(ada.get, task) for _ in range(18)]
            until(lambda: timed.pool()["waiting"] == len(waiting))
            connection.execute("select pg_sleep(0.1)")
        answers = [call.result() for call in under_way + waiting]

    times = [milliseconds(answer) for answer in answers]
    assert all(part["db"] >= 100 for part in times[:2])
    assert all(part["wait"] >= 100 for part in times[2:])
    assert len({part["db"] for part in times[2:]}) == 1
