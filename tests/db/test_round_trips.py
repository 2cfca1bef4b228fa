"""What a request costs, counted: statements, round trips, asyncio tasks, and updates that write to no index."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.proxy import Proxy
from tests.serving import Api, Caller, serving, until

Call = Callable[[Caller, str], httpx.Response]

CALLS: dict[str, Call] = {
    "list_tasks": lambda ada, _: ada.list(),
    "create_task": lambda ada, _: ada.create(title="x"),
    "get_task": lambda ada, task_id: ada.get(task_id),
    "update_task": lambda ada, task_id: ada.update(task_id, title="y", description=None),
    "complete_task": lambda ada, task_id: ada.complete(task_id),
    "delete_task": lambda ada, task_id: ada.delete(task_id),
}
"""The operations, one by one."""


@pytest.fixture
def api(proxy: Proxy) -> Iterator[Api]:
    with serving(database_url=proxy.url, probe_interval=3600) as running:
        running.fill()
        yield running


@contextmanager
def counted_tasks(api: Api) -> Iterator[list[str]]:
    """The names of the coroutines that become tasks of the service's event loop meanwhile."""
    names: list[str] = []

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **more: Any
    ) -> "asyncio.Task[Any]":
        names.append(getattr(coroutine, "__qualname__", ""))
        return asyncio.Task(coroutine, loop=loop, **more)

    async def count(factory: Any) -> None:
        asyncio.get_running_loop().set_task_factory(factory)

    asyncio.run_coroutine_threadsafe(count(factory), api.loop).result()
    yield names
    asyncio.run_coroutine_threadsafe(count(None), api.loop).result()
    names.pop()  # the last is our own


@pytest.mark.parametrize("operation", CALLS)
def test_request_is_one_statement_in_one_round_trip(ada: Caller, proxy: Proxy, operation: str) -> None:
    task_ids = [ada.create(title="x").json()["id"] for _ in range(10)]
    before = (proxy.statements, proxy.round_trips)

    answers = [CALLS[operation](ada, task_id) for task_id in task_ids]

    assert {answer.is_success for answer in answers} == {True}
    assert (proxy.statements - before[0], proxy.round_trips - before[1]) == (10, 10)


def test_first_task_of_a_user_costs_two_more_statements(ada: Caller, proxy: Proxy) -> None:
    before = (proxy.statements, proxy.round_trips)

    ada.create(title="x")  # refused by the foreign key, then the user, then the task once more

    assert (proxy.statements - before[0], proxy.round_trips - before[1]) == (3, 3)


def test_refused_request_sends_no_statement(ada: Caller, bob: Caller, api: Api, proxy: Proxy) -> None:
    before = proxy.statements

    assert ada.request("GET", bob.tasks).status_code == 403
    assert api.anonymous.get(ada.tasks).status_code == 401
    assert ada.get("x").status_code == ada.create().status_code == 422
    assert {api.anonymous.get(path).status_code for path in ("/health", "/livez", "/readyz")} == {200}

    assert proxy.statements == before


@pytest.mark.parametrize("operation", CALLS)
def test_request_without_contention_is_one_asyncio_task(api: Api, ada: Caller, operation: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    with counted_tasks(api) as names:
        CALLS[operation](ada, task_id)

    assert len(names) == 1, names


def test_reads_of_one_iteration_share_a_round_trip(api: Api, ada: Caller, proxy: Proxy) -> None:
    task_id = ada.create(title="x").json()["id"]
    with ThreadPoolExecutor(32) as threads:
        list(threads.map(ada.get, [task_id] * 32))  # so that every thread has its connection
        before = proxy.round_trips
        with counted_tasks(api) as names:
            proxy.freeze()
            reads = [threads.submit(ada.get, task_id) for _ in range(32)]
            time.sleep(0.1)  # for all of them to arrive
            proxy.thaw()
            assert {read.result().status_code for read in reads} == {200}

    assert len(names) < 2 * 32, "each flew alone"
    assert proxy.round_trips - before < 32


def test_updates_write_to_no_index(database: str, rows: Callable[..., list[Any]]) -> None:
    with serving(database_url=database) as api:
        ada = api.caller()
        task_ids = [ada.create(title="x" * 100).json()["id"] for _ in range(8)]  # few enough for one page
        for task_id in task_ids:
            ada.complete(task_id)
            ada.update(task_id, title="y" * 100)

    until(lambda: rows("select n_tup_upd from pg_stat_user_tables where relname = 'tasks'") == [(16,)])
    assert rows("select n_tup_hot_upd from pg_stat_user_tables where relname = 'tasks'") == [(16,)]
