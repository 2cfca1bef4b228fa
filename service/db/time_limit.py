"""A time limit for one thing after another, as asyncio.timeout is for one thing."""

import asyncio
from types import TracebackType


class TimeLimit:
    """Within `with`, the running task is cancelled after `seconds`, which then raises TimeoutError.

    One block at a time. A timer for each, as asyncpg has one for each statement, costs 4 us; here one is set anew
    only when it goes off too early, once in `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._cancelled = 0  # how often others have cancelled the task before
        self._deadline = 0.0  # by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._exceeded = False

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task(self._loop)
        self._cancelled = task.cancelling() if task else 0
        self._deadline = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task, self._task = self._task, None
        if self._exceeded and task:
            self._exceeded = False
            if task.uncancel() <= self._cancelled and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        else:
            self._loop.call_soon(self._end)  # after a stall, what the task waits for may have come in this very turn

    def _end(self) -> None:
        if self._task and self._loop.time() >= self._deadline:
            self._exceeded = True
            self._task.cancel()
