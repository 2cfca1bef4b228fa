"""The reusable timeout cancels only a late block; the lazy timer fires once, at the deadline that was set last."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

import pytest

from service.timers import LazyTimer, ReusableTimeout

SOON = 0.02
LATER = 30.0


@pytest.fixture
async def limit() -> ReusableTimeout:
    return ReusableTimeout(SOON)


async def test_timeout_ends_each_block_that_is_late(limit: ReusableTimeout) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(LATER)
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


async def test_timeout_counts_from_its_own_block_on() -> None:
    limit = ReusableTimeout(0.3)
    for _ in range(2):  # the first block sets the timer, which fires during the second
        with limit:
            await asyncio.sleep(0.16)


async def test_timeout_does_not_cancel_code_after_its_block(limit: ReusableTimeout) -> None:
    with limit:
        pass
    await asyncio.sleep(3 * SOON)


async def test_timeout_of_one_connection_does_not_end_another_task(limit: ReusableTimeout) -> None:
    async def late() -> None:
        with limit:
            await asyncio.sleep(LATER)

    other = asyncio.create_task(asyncio.sleep(3 * SOON))
    with pytest.raises(TimeoutError):
        await asyncio.create_task(late())
    await other


async def assert_cancellable(coroutine: Coroutine[Any, Any, None]) -> None:
    """Check that the coroutine ends with CancelledError when its task is cancelled after the start."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_timeout_propagates_a_cancellation_from_outside(limit: ReusableTimeout) -> None:
    async def in_time() -> None:
        with limit:
            await asyncio.sleep(LATER)

    await assert_cancellable(in_time())


async def test_timeout_and_a_cancellation_from_outside_cancel(limit: ReusableTimeout) -> None:
    async def stubborn() -> None:
        with limit:
            try:
                await asyncio.sleep(LATER)
            finally:
                await asyncio.sleep(2 * SOON)  # the timeout cancels this, after the other cancellation

    await assert_cancellable(stubborn())


async def test_timeout_propagates_errors(limit: ReusableTimeout) -> None:
    with pytest.raises(ValueError, match="mine"), limit:
        raise ValueError("mine")


async def test_timeout_allows_a_response_that_arrived_while_the_loop_was_blocked(limit: ReusableTimeout) -> None:
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


async def test_lazy_timer_fires_once_at_the_deadline_set_last() -> None:
    fired: list[float] = []
    loop = asyncio.get_running_loop()
    timer = LazyTimer(lambda: fired.append(loop.time()))
    timer.set(loop.time() + SOON)
    later = loop.time() + 4 * SOON
    timer.set(later)
    await asyncio.sleep(8 * SOON)

    assert len(fired) == 1
    assert fired[0] >= later


async def test_lazy_timer_fires_earlier_when_the_deadline_comes_earlier() -> None:
    fired = asyncio.Event()
    loop = asyncio.get_running_loop()
    timer = LazyTimer(fired.set)
    timer.set(loop.time() + LATER)
    timer.set(loop.time() + SOON)

    await asyncio.wait_for(fired.wait(), LATER / 3)


@pytest.mark.parametrize("disarm", [lambda timer: timer.set(inf), LazyTimer.close], ids=["set", "close"])
async def test_lazy_timer_that_is_disarmed_does_not_fire(disarm: Callable[[LazyTimer], None]) -> None:
    fired: list[None] = []
    timer = LazyTimer(lambda: fired.append(None))
    timer.set(asyncio.get_running_loop().time() + SOON)
    disarm(timer)
    await asyncio.sleep(3 * SOON)

    assert not fired
