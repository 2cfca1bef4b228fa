"""A time limit used again and again: it ends what is late, and only that."""

import asyncio
import socket
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from service.db.time_limit import TimeLimit

SOON = 0.02
LATER = 30.0


@pytest.fixture
async def limit() -> TimeLimit:
    return TimeLimit(SOON)


async def test_time_limit_ends_each_block_that_is_late(limit: TimeLimit) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(LATER)
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


async def test_time_limit_counts_from_its_own_block_on() -> None:
    limit = TimeLimit(0.3)
    for _ in range(2):  # of which the first sets the timer, and the second is under way when it goes off
        with limit:
            await asyncio.sleep(0.16)


async def test_time_limit_leaves_alone_what_comes_after_its_block(limit: TimeLimit) -> None:
    with limit:
        pass
    await asyncio.sleep(3 * SOON)


async def test_time_limit_of_one_lane_does_not_end_another_task(limit: TimeLimit) -> None:
    async def late() -> None:
        with limit:
            await asyncio.sleep(LATER)

    other = asyncio.create_task(asyncio.sleep(3 * SOON))
    with pytest.raises(TimeoutError):
        await asyncio.create_task(late())
    await other


async def assert_cancellable(coroutine: Coroutine[Any, Any, None]) -> None:
    """Holds the coroutine, once it has begun, to end as its task's cancellation asks."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_time_limit_passes_on_the_cancellation_by_another(limit: TimeLimit) -> None:
    async def in_time() -> None:
        with limit:
            await asyncio.sleep(LATER)

    await assert_cancellable(in_time())


async def test_time_limit_and_another_together_cancel(limit: TimeLimit) -> None:
    async def stubborn() -> None:
        with limit:
            try:
                await asyncio.sleep(LATER)
            finally:
                await asyncio.sleep(2 * SOON)  # which the limit interrupts: it comes second

    await assert_cancellable(stubborn())


async def test_time_limit_passes_on_errors(limit: TimeLimit) -> None:
    with pytest.raises(ValueError, match="mine"), limit:
        raise ValueError("mine")


async def test_time_limit_takes_what_came_while_the_loop_stood_still(limit: TimeLimit) -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    reader, writer = socket.socketpair()
    with reader, writer:
        loop.add_reader(reader, lambda: answer.set_result(reader.recv(1)))
        loop.call_soon(time.sleep, 2 * SOON)
        loop.call_soon(writer.send, b"x")
        with limit:
            assert await answer == b"x"
        loop.remove_reader(reader)
