"""Server-Timing over HTTP: present when the setting is on, with the time of each part, and absent otherwise."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.database import BLOCKED, locked
from tests.serving import Api, Caller, serving, until

Rows = Callable[..., list[Any]]


@pytest.fixture
def timed(database: str) -> Iterator[Api]:
    bounds = {"pool_max_size": 2, "acquire_timeout": 30, "statement_timeout": 30}
    with serving(database_url=database, server_timing=True, **bounds) as running:
        yield running


def milliseconds(response: httpx.Response) -> dict[str, float]:
    """The durations by name. None is negative."""
    parts = re.findall(r"(\w+);dur=(\d+\.\d+)(?:, |$)", response.headers["server-timing"])
    assert [name for name, _ in parts] == ["auth", "wait", "db"]
    return {name: float(duration) for name, duration in parts}


def test_server_timing_is_off_by_default(ada: Caller) -> None:
    assert "server-timing" not in ada.list().headers


def test_server_timing_is_on_every_private_response(timed: Api) -> None:
    ada = timed.caller()
    task = ada.create(title="x").json()["id"]
    worked = [ada.create(title="y"), ada.list(), ada.get(task), ada.update(task, title="z"), ada.complete(task)]
    worked += [ada.delete(task), ada.get(task)]

    for response in worked:
        times = milliseconds(response)
        assert times["db"] > 0
        assert sum(times.values()) <= response.elapsed.total_seconds() * 1000


@pytest.mark.parametrize("authorization", ["Bearer none", None])
def test_server_timing_of_a_refusal_has_no_database_time(timed: Api, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    times = milliseconds(timed.anonymous.get(f"/api/{uuid4()}/tasks", headers=headers))

    assert times["auth"] > 0
    assert times["wait"] == times["db"] == 0


def test_server_timing_separates_the_wait_for_a_connection_from_the_database_time(database: str, rows: Rows) -> None:
    one = {"pool_min_size": 1, "pool_max_size": 1, "acquire_timeout": 0.3}
    with serving(database_url=database, server_timing=True, **one) as api, ThreadPoolExecutor(4) as clients:
        ada = api.caller()
        task = ada.create(title="x").json()["id"]
        with locked(database, "access exclusive"):
            sent = clients.submit(ada.complete, task)
            until(lambda: rows(BLOCKED))
            without_connection = list(clients.map(lambda call: call(task), (ada.get, ada.complete, ada.delete)))

    assert milliseconds(sent.result())["db"] >= 300
    for response in without_connection:
        assert response.status_code == 503
        times = milliseconds(response)
        assert times["wait"] >= 250 > times["db"]


def test_server_timing_of_batched_reads_is_that_of_their_batch(timed: Api, database: str, rows: Rows) -> None:
    ada = timed.caller()
    task = ada.create(title="x").json()["id"]
    timed.fill()
    with ThreadPoolExecutor(20) as clients:
        with locked(database, "access exclusive"):
            under_way = [clients.submit(ada.list), clients.submit(ada.get, task)]
            until(lambda: len(rows(BLOCKED)) == len(under_way))
            waiting = [clients.submit(ada.get, task) for _ in range(18)]
            until(lambda: timed.pool()["waiting"] == len(waiting))
            time.sleep(0.1)
        responses = [call.result() for call in under_way + waiting]

    times = [milliseconds(response) for response in responses]
    assert all(part["db"] >= 100 for part in times[:2])
    assert all(part["wait"] >= 100 for part in times[2:])
    assert len({part["db"] for part in times[2:]}) < len(waiting) / 2  # few batches
