"""The queue: fair by user, in the order of arrival, bounded by deadlines; and users who share the pool."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from service.db.connection import Connection
from service.db.database import Database
from service.db.errors import PoolTimeout
from service.db.queue import BATCHES, Queue, Waiter
from service.db.statements import Statement
from service.db.url import for_psycopg
from service.tasks.handlers import CREATE_TASK
from tests.database import BLOCKED, locked, opened
from tests.serving import Caller, serving, until

Rows = Callable[..., list[Any]]

UNBATCHED = Statement("get_task")
"""A read that needs a connection of its own."""


@pytest.fixture
def queue() -> Queue:
    return Queue(share=2)


def wait(queue: Queue, user: str, deadline: float = 1, limited_to_share: bool = False) -> Waiter:
    waiter = Waiter(user, deadline, limited_to_share=limited_to_share)
    queue.put(waiter)
    return waiter


def test_queue_serves_one_user_in_the_order_of_arrival(queue: Queue) -> None:
    waiters = [wait(queue, "ada") for _ in range(3)]

    assert [queue.pop() for _ in range(4)] == [*waiters, None]
    assert queue.size == 0


def test_queue_takes_users_in_turn(queue: Queue) -> None:
    first, second, third = wait(queue, "ada"), wait(queue, "ada"), wait(queue, "bob")

    assert [queue.pop() for _ in range(3)] == [first, third, second]


def test_queue_prefers_the_user_who_holds_the_fewest_connections(queue: Queue) -> None:
    queue.held["ada"] = 1
    of_ada, of_bob = wait(queue, "ada"), wait(queue, "bob")

    assert [queue.pop(), queue.pop()] == [of_bob, of_ada]


@pytest.mark.parametrize(("limited_to_share", "may_start"), [(False, True), (True, False)])
def test_queue_lets_a_user_exceed_the_share_only_alone_and_not_when_limited_to_it(
    queue: Queue, limited_to_share: bool, may_start: bool
) -> None:
    queue.held |= {"ada": 2, "bob": 1}
    of_ada, of_bob = wait(queue, "ada", limited_to_share=limited_to_share), wait(queue, "bob")

    assert queue.pop() is of_bob
    assert queue.pop() is (of_ada if may_start else None)


def test_queue_starts_batches_in_the_order_of_arrival_among_all_users(queue: Queue) -> None:
    first, second = wait(queue, BATCHES, 1), wait(queue, BATCHES, 3)
    of_ada, of_bob = wait(queue, "ada", 2), wait(queue, "bob", 4)

    assert [queue.pop() for _ in range(4)] == [first, of_ada, second, of_bob]


def test_queue_starts_a_batch_before_all_while_batches_hold_less_than_their_share() -> None:
    queue = Queue(share=2, batch_share=1)
    of_ada, of_bob = wait(queue, "ada", 1), wait(queue, "bob", 2)
    first, second = wait(queue, BATCHES, 3), wait(queue, BATCHES, 4)

    assert queue.pop() is first
    queue.held[BATCHES] = 1
    assert [queue.pop() for _ in range(3)] == [of_ada, of_bob, second]


def test_queue_starts_a_batch_before_a_user_who_holds_a_connection(queue: Queue) -> None:
    queue.held["ada"] = 1
    of_ada, batch = wait(queue, "ada", 1), wait(queue, BATCHES, 2)

    assert [queue.pop(), queue.pop()] == [batch, of_ada]


def test_queue_expires_late_waiters_and_drops_cancelled_ones(queue: Queue) -> None:
    late, left, later = wait(queue, "ada", 1), wait(queue, "ada", 2), wait(queue, "ada", 3)
    batch = wait(queue, BATCHES, 3)

    assert queue.discard(left)
    assert not queue.discard(left)
    assert queue.pop_expired(2) == [late]
    assert sorted(queue.pop_all(), key=id) == sorted([later, batch], key=id)
    assert not any(map(queue.discard, (late, left, later, batch)))
    assert (queue.size, len(queue), queue.pop()) == (0, 0, None)


def test_queue_keeps_the_turn_of_a_user_whose_first_entry_is_dropped(queue: Queue) -> None:
    of_bob, left, next, last, of_cyd = (wait(queue, user) for user in ("bob", "ada", "ada", "ada", "cyd"))
    queue.discard(left)

    assert [queue.pop() for _ in range(5)] == [of_bob, next, of_cyd, last, None]


@pytest.mark.parametrize("seed", range(20))
def test_queue_keeps_its_rules_in_any_order_of_events(seed: int) -> None:
    """Compared with one list of the entries in the order of their turns, and the rule in the words of next()."""
    random = Random(seed)
    queue = Queue(share=2, batch_share=1)
    turns: list[Waiter] = []

    def waits(user: str) -> list[Waiter]:
        return [waiter for waiter in turns if waiter.user == user]

    def expected() -> Waiter | None:
        users = list(dict.fromkeys(waiter.user for waiter in turns if waiter.user != BATCHES))
        may = [user for user in users if queue.held.get(user, 0) < 2] or [
            user for user in users if not waits(str(user))[0].limited_to_share
        ]
        counts = [min(queue.held.get(user, 0), 2) for user in may]
        chosen = waits(str(may[counts.index(min(counts))]))[0] if may else None
        batch = next(iter(waits(BATCHES)), None)
        if batch is None:
            return chosen
        first = chosen is not None and chosen.user not in queue.held and chosen.deadline < batch.deadline
        return chosen if first and queue.held.get(BATCHES, 0) >= 1 else batch

    for moment in range(300):
        user = random.choice(["ada", "bob", "cyd", "dan", BATCHES])
        match random.randrange(4):
            case 0 | 1:
                turns.append(wait(queue, user, moment, limited_to_share=random.random() < 0.3))
            case 2:
                chosen = expected()
                assert queue.pop() is chosen
                if chosen:
                    later = [waiter for waiter in turns if waiter.user == chosen.user and waiter is not chosen]
                    others = [waiter for waiter in turns if waiter.user != chosen.user]
                    turns = others + later if chosen.user != BATCHES else [w for w in turns if w is not chosen]
                    queue.held[chosen.user] = queue.held.get(chosen.user, 0) + 1
            case 3 if queue.held:
                user = random.choice(list(map(str, queue.held)))
                queue.held[user] -= 1
                if not queue.held[user]:
                    del queue.held[user]
        assert (queue.size, len(queue)) == (len(turns), len(turns))


def wait_for_connections(pool: Database, count: int) -> list[asyncio.Task[Connection]]:
    return [asyncio.create_task(pool.acquire(uuid4())) for _ in range(count)]


async def test_queue_keeps_no_user_however_a_request_ends(database: str) -> None:
    async with opened(database, pool_min_size=1, pool_max_size=1, acquire_timeout=0.2) as pool:
        connection = pool.try_acquire(uuid4())
        assert connection
        late, left = wait_for_connections(pool, 2)
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(PoolTimeout):
            await late
        gone, served, last = wait_for_connections(pool, 3)
        await asyncio.sleep(0)
        gone.cancel()  # its task has no time to leave the queue before the release
        pool.release(connection)
        served.cancel()  # the connection was given to it, and goes on to the last
        pool.release(await last)

        assert (pool.queue.size, pool.queue.held, pool.queue._later) == (0, {}, {})


@pytest.mark.parametrize("end", ["checked", "expired"])
async def test_entry_starts_at_once_when_its_user_loses_a_connection(database: str, end: str) -> None:
    async with opened(database, pool_min_size=4, pool_max_size=4, pool_user_share=0.25) as pool:
        ada = uuid4()
        connection = pool.try_acquire(ada)
        assert connection
        read = asyncio.create_task(pool.acquire(ada, limited_to_share=True))
        await asyncio.sleep(0)
        if end == "checked":
            connection.needs_check = True
        else:
            pool.connections.discard(connection)
        pool.release(connection)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert read.done()
        pool.release(read.result())


async def test_entry_behind_one_that_leaves_gets_an_idle_connection_at_once(database: str) -> None:
    async with opened(database, pool_min_size=4, pool_max_size=4, pool_user_share=0.25) as pool:
        ada = uuid4()
        connection = pool.try_acquire(ada)
        assert connection
        read = asyncio.create_task(pool.acquire(ada, limited_to_share=True))
        write = asyncio.create_task(pool.acquire(ada))
        await asyncio.sleep(0)
        assert not write.done()
        read.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert write.done()
        pool.release(write.result())
        pool.release(connection)


async def test_entry_behind_one_that_starts_gets_an_idle_connection_at_once(database: str) -> None:
    ada, bob = uuid4(), uuid4()
    async with opened(database, pool_min_size=4, pool_max_size=4, pool_user_share=0.25) as pool:
        of_ada, *of_bob = [pool.try_acquire(user) for user in (ada, bob, bob, bob)]
        read = asyncio.ensure_future(pool.acquire(ada, limited_to_share=True))
        write = asyncio.ensure_future(pool.acquire(ada))
        await asyncio.sleep(0)
        for connection in of_bob:
            assert connection
            pool.release(connection)
        assert len(pool.idle) == 3
        assert of_ada
        pool.release(of_ada)
        assert pool.waiting_requests == 0
        for connection in await asyncio.gather(read, write):
            pool.release(connection)


async def test_user_with_many_reads_leaves_connections_to_others(database: str, rows: Rows) -> None:
    greedy, other = uuid4(), uuid4()
    async with opened(database, pool_min_size=4, pool_max_size=4, statement_timeout=30, acquire_timeout=30) as pool:
        with locked(database, "access exclusive"):
            calls = [asyncio.ensure_future(pool.run(UNBATCHED, greedy, uuid4())) for _ in range(8)]
            await asyncio.to_thread(until, lambda: rows(BLOCKED))
            await asyncio.sleep(0.05)
            assert len(rows(BLOCKED)) == 1  # a quarter of four
            assert len(pool.idle) == 3
            calls.append(asyncio.ensure_future(pool.run(UNBATCHED, other, uuid4())))
            await asyncio.to_thread(until, lambda: len(rows(BLOCKED)) == 2)
        await asyncio.gather(*calls)


async def test_connection_goes_to_the_user_without_one(database: str, rows: Rows) -> None:
    greedy, other = uuid4(), uuid4()
    done: list[UUID] = []

    async def create(pool: Database, user: UUID) -> None:
        await pool.run(CREATE_TASK, user, "x", None, False)
        done.append(user)

    rows("insert into users values (%s), (%s)", greedy, other)
    async with opened(database, pool_max_size=1, acquire_timeout=30) as pool:
        calls = [create(pool, greedy) for _ in range(10)]
        await asyncio.gather(*calls, create(pool, other))

    assert done.index(other) <= 2  # after the first, and at most one more whose turn it was


LONG = 1_000_000
"""Characters of a description."""


def test_searches_of_long_texts_do_not_delay_other_users(database: str, rows: Rows) -> None:
    """60 tasks of 1 MB are searched on 25 connections; every call of another user succeeds."""
    with serving(database_url=database, acquire_timeout=1, statement_timeout=2) as api:
        greedy, other = api.caller(), api.caller()
        other_task = other.create(title="x").json()["id"]
        greedy.create(title="x")
        with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
            connection.execute(
                """insert into tasks (user_id, title, description)
                select %s, 'x', text || g from generate_series(1, 60) as g,
                (select string_agg(md5(n::text), '') as text from generate_series(1, %s / 32) as n) as texts""",
                (greedy.id, LONG),
            )
        stop = threading.Event()

        def search(caller: Caller) -> int:
            searches = 0
            while not stop.is_set():
                caller.request("GET", f"{caller.tasks}?q=zzzz&limit=100")
                searches += 1
            return searches

        with ThreadPoolExecutor(26) as threads:
            searches = [threads.submit(search, greedy) for _ in range(25)]
            time.sleep(0.3)
            statuses = [
                answer.status_code
                for _ in range(5)
                for answer in (other.get(other_task), other.list(), other.create(title="y"), other.complete(other_task))
            ]
            stop.set()
            assert sum(each.result() for each in searches) >= 25
    assert set(statuses) == {200, 201}
