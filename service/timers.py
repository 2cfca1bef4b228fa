"""Timers whose deadline moves often and passes rarely. Imports nothing of the service; used by `db` and `edge`.

`loop.call_at()` and `cancel()` for each request or statement cost 2 to 4 us (`make bench`). Here, moving a deadline
to a later time is one assignment: the loop's timer is not touched and, when it fires too early, it is armed again.
"""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType


class LazyTimer:
    """Calls `callback` once, when `deadline` has passed. Times are the event loop's clock, in seconds.

    Invariant: while `deadline` is finite, the loop's timer is armed for that time or earlier.
    """

    __slots__ = ("_armed_for", "_callback", "_handle", "_loop", "deadline")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.deadline = inf
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = inf

    def set(self, deadline: float) -> None:
        """Move the deadline; `inf` disarms it."""
        self.deadline = deadline
        if deadline < self._armed_for:
            self._arm()

    def close(self) -> None:
        """Disarm the timer and drop the loop's reference to the callback's owner."""
        self.deadline = self._armed_for = inf
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle:
            self._handle.cancel()
        self._armed_for = self.deadline
        self._handle = self._loop.call_at(self.deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._handle, self._armed_for = None, inf
        if self._loop.time() >= self.deadline:
            self.deadline = inf
            self._callback()
        elif self.deadline < inf:
            self._arm()


class ReusableTimeout(LazyTimer):
    """Does what `asyncio.timeout()` does, in one object for many blocks, without a new timer for each block.

    Within `with`, the running task is cancelled after `seconds`, and the block then raises TimeoutError.
    One block at a time. After the last one, the loop's timer keeps this object alive for up to `seconds`, unless it is
    closed.
    """

    __slots__ = ("_cancelling_before", "_expired", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        super().__init__(self._on_deadline)
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._cancelling_before = 0  # pending cancellations of the task when the block began
        self._expired = False

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task(self._loop)
        self._cancelling_before = task.cancelling() if task else 0
        self.set(self._loop.time() + self._seconds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task, self._task = self._task, None
        self.deadline = inf
        if self._expired and task:
            self._expired = False
            # As in asyncio.timeout: a cancellation from outside must not become a TimeoutError.
            if task.uncancel() <= self._cancelling_before and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _on_deadline(self) -> None:
        # In the next iteration: after the loop was blocked, the response may be in the socket and be read in this one.
        self._loop.call_soon(self._expire)

    def _expire(self) -> None:
        if self._task and self.deadline == inf:  # else another block has begun
            self._expired = True
            self._task.cancel()
