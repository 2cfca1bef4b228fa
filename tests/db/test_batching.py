"""Reads that travel together: each caller gets their own rows and nobody else's failure."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from service.db import database as database_module
from service.db.batching import BATCH_ROWS, BATCH_SIZE
from service.db.database import Database
from service.db.errors import ConnectionLost, PoolTimeout, QueueFull
from service.db.queue import BATCHES_IN_FLIGHT
from service.db.statements import HEAVY_ROWS, Row, Statement
from service.tasks import handlers as tasks
from service.tasks import list as task_list
from service.tasks.handlers import GET_TASK
from service.tasks.list import LIST_TASKS
from tests.database import BLOCKED, TERMINATE, locked, opened
from tests.proxy import Proxy
from tests.serving import Caller, serving, until
from tests.wire import AsyncWire, request

Rows = Callable[..., list[Any]]

USERS = 200
TASKS = 5


@pytest.fixture
def owned(rows: Rows) -> dict[UUID, list[UUID]]:
    """Users and their tasks, newest first."""
    rows("insert into users select gen_random_uuid() from generate_series(1, %s)", USERS)
    rows(
        """insert into tasks (user_id, title, created_at)
        select id, id || ' ' || n, now() + n * interval '1 second' from users, generate_series(1, %s) as n""",
        TASKS,
    )
    return dict(rows("select user_id, array_agg(id order by created_at desc) from tasks group by 1"))


def make_unreadable(rows: Rows, user: UUID) -> None:
    """Make each read of a user's tasks fail with SQLSTATE 22012, by row-level security."""
    rows("alter table tasks enable row level security")
    rows(f"create policy readable on tasks using (1 / (user_id <> '{user}')::int = 1)")
    rows(
        """do $$ begin  -- superusers bypass policies
            execute 'alter database ' || current_database() || ' set role pg_read_all_data';
        end $$"""
    )


def ids(found: list[Row]) -> list[UUID]:
    return [row[0] for row in found]


def get(database: Database, user: UUID, task: UUID) -> "asyncio.Future[list[Row]]":
    return asyncio.ensure_future(database.run(GET_TASK, user, task))


async def blocked(rows: Rows, count: int) -> None:
    await asyncio.to_thread(until, lambda: len(rows(BLOCKED)) == count)


async def test_10000_concurrent_reads_return_each_users_own_rows(database: str, owned: dict[UUID, list[UUID]]) -> None:
    users = list(owned)
    chosen = random.Random(0)
    async with opened(database, max_waiting=20_000, acquire_timeout=30) as pool:

        async def read() -> None:
            user, other = chosen.sample(users, 2)
            mine, theirs = chosen.choice(owned[user]), chosen.choice(owned[other])
            found, foreign, its_owner, listed = await asyncio.gather(
                pool.run(GET_TASK, user, mine),
                pool.run(GET_TASK, user, theirs),
                pool.run(GET_TASK, other, theirs),
                pool.run(LIST_TASKS, user),
            )
            assert [(row[0], row[1], row[2][:36]) for row in found] == [(mine, user, str(user))]
            assert foreign == []
            assert ids(its_owner) == [theirs]
            assert ids(listed) == owned[user]
            assert {row[1] for row in listed} == {user}

        await asyncio.gather(*(read() for _ in range(2500)))
        assert pool.waiting_requests == 0
        assert len(pool.idle) == len(pool.connections)


async def test_concurrent_reads_are_one_round_trip_and_equal_reads_are_sent_once(
    proxy: Proxy, owned: dict[UUID, list[UUID]]
) -> None:
    user, (first, second, *_) = owned.popitem()
    async with opened(proxy.url, pool_max_size=1) as pool:
        before = (proxy.statements, proxy.round_trips)
        ahead = get(pool, user, first)  # which meets no other
        found = await asyncio.gather(*(get(pool, user, task) for task in (first, second, first) * 10))
        assert list(map(ids, found)) == [[first], [second], [first]] * 10
        assert ids(await ahead) == [first]
        assert (proxy.statements - before[0], proxy.round_trips - before[1]) == (1 + 2, 1 + 1)


async def test_batch_takes_no_more_than_its_size(proxy: Proxy, owned: dict[UUID, list[UUID]]) -> None:
    async with opened(proxy.url, pool_max_size=1) as pool:
        before = (proxy.statements, proxy.round_trips)
        await asyncio.gather(*(pool.run(LIST_TASKS, user) for user in owned))
        assert proxy.statements - before[0] == USERS
        assert proxy.round_trips - before[1] == 1 + -(-(USERS - 1) // BATCH_SIZE)  # the first of all meets no other


async def test_read_that_fails_fails_alone(database: str, owned: dict[UUID, list[UUID]], rows: Rows) -> None:
    ahead, bad, *good = list(owned)[:20]
    make_unreadable(rows, bad)
    async with opened(database) as pool:
        _, refused, *found = await asyncio.gather(
            *(pool.run(GET_TASK, user, owned[user][0]) for user in (ahead, bad, *good)), return_exceptions=True
        )
        assert getattr(refused, "sqlstate", None) == "22012"
        assert found == [await pool.run(GET_TASK, user, owned[user][0]) for user in good]
        assert pool.waiting_requests == 0


async def test_cancelled_caller_does_not_cancel_the_batch(
    database: str, owned: dict[UUID, list[UUID]], rows: Rows
) -> None:
    (ada, (task, *_)), (bob, (other, *_)) = owned.popitem(), owned.popitem()
    async with opened(database, statement_timeout=30) as pool:
        with locked(database, "access exclusive"):
            ahead = get(pool, ada, task)
            calls = [get(pool, ada, task), get(pool, ada, task), get(pool, bob, other), get(pool, bob, other)]
            await blocked(rows, 2)
            calls[0].cancel()
            calls[2].cancel()
            calls[3].cancel()
        assert ids(await calls[1]) == ids(await ahead) == [task]
        assert [call.cancelled() for call in calls] == [True, False, True, True]
        await asyncio.to_thread(until, lambda: len(pool.idle) == len(pool.connections))


async def test_reads_survive_their_connection(
    database: str, owned: dict[UUID, list[UUID]], rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "RETRY_SECONDS", 30)
    async with opened(database, pool_min_size=2, statement_timeout=30, acquire_timeout=30) as pool:
        with locked(database, "access exclusive"):
            lists = [asyncio.ensure_future(pool.run(LIST_TASKS, user)) for user in owned]
            await blocked(rows, 2)
            rows(TERMINATE)
        assert list(map(ids, await asyncio.gather(*lists))) == list(owned.values())


async def test_reads_do_not_wait_for_reads_on_dead_connections(proxy: Proxy, owned: dict[UUID, list[UUID]]) -> None:
    async with opened(
        proxy.url, pool_min_size=BATCHES_IN_FLIGHT, pool_max_size=BATCHES_IN_FLIGHT + 1, statement_timeout=30
    ) as pool:
        proxy.deafen()
        (user, (task, *_)), *_ = owned.items()
        lost = [get(pool, user, task)]
        await asyncio.sleep(0)
        lost.append(asyncio.ensure_future(pool.run(LIST_TASKS, user)))
        await asyncio.sleep(0.01)

        assert ids(await get(pool, user, task)) == [task]
        assert not any(call.done() for call in lost)
        proxy.down()
        await asyncio.gather(*lost, return_exceptions=True)


async def test_batch_that_times_out_is_not_retried(proxy: Proxy, database: str, owned: dict[UUID, list[UUID]]) -> None:
    async with opened(proxy.url, pool_max_size=1, statement_timeout=0.1) as pool:
        before = proxy.statements
        with locked(database, "access exclusive"):
            results = await asyncio.gather(
                *(pool.run(LIST_TASKS, user) for user in list(owned)[:10]), return_exceptions=True
            )
        assert {type(result) for result in results} == {ConnectionLost}
        assert proxy.statements - before == 10


async def test_lists_that_time_out_together_go_alone_until_they_are_read(
    database: str, owned: dict[UUID, list[UUID]]
) -> None:
    users = list(owned)[:10]
    async with opened(database, pool_min_size=2, statement_timeout=0.3, acquire_timeout=30) as pool:
        assert pool.batcher
        with locked(database, "access exclusive"):
            await asyncio.gather(*(pool.run(LIST_TASKS, user) for user in users), return_exceptions=True)
        assert set(pool.batcher.heavy) >= {(LIST_TASKS, user) for user in users[1:]}

        for user in users:
            assert ids(await pool.run(LIST_TASKS, user)) == owned[user]
        assert not pool.batcher.heavy


async def test_reads_are_refused_after_the_timeout_and_beyond_the_queue_limit(
    database: str, owned: dict[UUID, list[UUID]], rows: Rows
) -> None:
    bounds = {"pool_min_size": 2, "pool_max_size": 2, "max_waiting": 2, "acquire_timeout": 0.1, "statement_timeout": 30}
    async with opened(database, **bounds) as pool:
        with locked(database, "access exclusive"):
            (ada, everything), (bob, (other, *_)) = owned.popitem(), owned.popitem()
            task = everything[0]
            in_flight = [get(pool, ada, task), asyncio.ensure_future(pool.run(LIST_TASKS, ada))]
            await blocked(rows, 2)
            waiting = [get(pool, bob, other), get(pool, ada, task)]
            await asyncio.sleep(0)
            assert pool.waiting_requests == 2
            with pytest.raises(QueueFull):
                await pool.run(GET_TASK, bob, other)
            for late in waiting:
                with pytest.raises(PoolTimeout):
                    await late
            assert (pool.waiting_requests, pool.timeouts, pool.shed) == (0, 2, 1)
        assert list(map(ids, await asyncio.gather(*in_flight))) == [[task], everything]


def test_writes_are_never_batched() -> None:
    constants = vars(task_list) | vars(tasks)
    together = {name for name, value in constants.items() if isinstance(value, Statement) and value.batch_columns}
    assert together == {"LIST_TASKS", "GET_TASK"}
    assert not LIST_TASKS.writes
    assert not GET_TASK.writes


async def call(wire: AsyncWire, caller: Caller, path: str) -> tuple[int, Any]:
    """The status and the document of a GET; httpx takes longer for it than the service."""
    answer = await wire.exchange(request("GET", path, f"Authorization: Bearer {caller.token}"))
    return answer.status, json.loads(answer.body)


async def test_reads_over_http_return_each_users_own_rows(proxy: Proxy, owned: dict[UUID, list[UUID]]) -> None:
    chosen = random.Random(0)
    with serving(database_url=proxy.url) as api:
        callers = {user: api.caller(user) for user in owned}
        sent = [proxy.statements, proxy.round_trips]

        async def browse() -> None:
            client = await AsyncWire.connect(api.address)
            for _ in range(10):
                (user, caller), (other, _) = chosen.sample(list(callers.items()), 2)
                mine, theirs = chosen.choice(owned[user]), chosen.choice(owned[other])
                status, task = await call(client, caller, f"{caller.tasks}/{mine}")
                assert (status, task["id"], task["user_id"]) == (200, str(mine), str(user))
                status, _ = await call(client, caller, f"{caller.tasks}/{theirs}")
                assert status == 404
                status, listed = await call(client, caller, caller.tasks)
                assert (status, [task["id"] for task in listed]) == (200, list(map(str, owned[user])))
            client.close()

        await asyncio.gather(*(browse() for _ in range(64)))
        # or this shows nothing about reads that travel together
        assert proxy.round_trips - sent[1] < proxy.statements - sent[0]


async def test_batch_brings_a_part_of_a_long_list_which_is_then_sent_alone(
    proxy: Proxy, owned: dict[UUID, list[UUID]], rows: Rows
) -> None:
    light, heavy = list(owned)[:10], list(owned)[10:20]
    more = HEAVY_ROWS * 3
    rows("insert into tasks (user_id, title) select unnest(%s::uuid[]), 'x' from generate_series(1, %s)", heavy, more)
    async with opened(proxy.url, pool_min_size=4, pool_max_size=4) as pool:
        assert pool.batcher

        async def lists() -> list[int]:
            found = await asyncio.gather(*(pool.run(LIST_TASKS, user) for user in (*light, *heavy)))
            return [len(tasks) for tasks in found]

        before = proxy.statements
        assert await lists() == [TASKS] * 10 + [TASKS + more] * 10
        assert proxy.statements - before == 30
        assert {key[1] for key in pool.batcher.heavy} == set(heavy)

        before = proxy.statements
        assert await lists() == [TASKS] * 10 + [TASKS + more] * 10
        assert proxy.statements - before == 20  # what is known to be long is sent once

        rows("delete from tasks")
        assert await lists() == [0] * 20
        assert not pool.batcher.heavy


async def test_batch_holds_fewer_reads_of_longer_lists(proxy: Proxy, owned: dict[UUID, list[UUID]], rows: Rows) -> None:
    users = list(owned)[:60]
    rows(
        "insert into tasks (user_id, title) select id, 'x' from users, generate_series(1, 75) where id = any(%s)", users
    )
    async with opened(proxy.url, pool_max_size=1) as pool:
        for _ in range(5):  # for the mean to become known
            await asyncio.gather(*(pool.run(LIST_TASKS, user) for user in users))
        before = proxy.round_trips
        await asyncio.gather(*(pool.run(LIST_TASKS, user) for user in users))
        assert proxy.round_trips - before >= 60 * 80 / BATCH_ROWS


async def test_read_that_fails_is_found_by_halving_its_batch(
    proxy: Proxy, owned: dict[UUID, list[UUID]], rows: Rows
) -> None:
    ahead, bad, *good = list(owned)[:65]
    make_unreadable(rows, bad)
    async with opened(proxy.url, pool_max_size=1) as pool:
        before = proxy.round_trips
        results = await asyncio.gather(
            *(pool.run(GET_TASK, user, owned[user][0]) for user in (ahead, bad, *good)), return_exceptions=True
        )
        assert [hasattr(result, "sqlstate") for result in results] == [False, True, *[False] * len(good)]
        assert proxy.round_trips - before <= 1 + 1 + 2 * 6


async def test_batched_read_that_succeeds_ends_the_failure_of_its_statement(
    database: str, owned: dict[UUID, list[UUID]]
) -> None:
    async with opened(database) as pool:
        calls = [get(pool, user, owned[user][0]) for user in list(owned)[:3]]
        pool.failing[GET_TASK.name] = Exception()
        await asyncio.gather(*calls[1:])
        assert not pool.failing
        await calls[0]


async def test_rows_without_their_arguments_fail_the_reads_of_the_batch(
    database: str, owned: dict[UUID, list[UUID]]
) -> None:
    statement = Statement("get_task", batch_columns=(1, 99))
    async with opened(database) as pool:
        reads = [pool.run(statement, user, owned[user][0]) for user in list(owned)[:3]]
        results = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), 10)
        assert [type(result) for result in results[1:]] == [IndexError] * 2
