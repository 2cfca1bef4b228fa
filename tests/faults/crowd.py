"""Many users that create tasks: in a closed loop, or at a fixed rate (an open loop)."""

import asyncio
import gc
import random
from time import monotonic
from uuid import uuid4

from tests.faults.client import TimedAnswer
from tests.faults.service_process import ServiceProcess

TICK = 0.001
"""Seconds between two checks of the clock."""


class Crowd:
    """`size` users, each with a connection. When all connections are in use, more are opened."""

    def __init__(self, service: ServiceProcess, size: int) -> None:
        self._service = service
        self._users = [uuid4() for _ in range(size)]
        self._idle = [service.caller(user) for user in self._users]

    async def saturate(self, seconds: float) -> list[TimedAnswer]:
        """Each user calls again after each response (a closed loop), which measures the peak rate."""
        until = monotonic() + seconds
        answers: list[TimedAnswer] = []

        async def keep_calling() -> None:
            while monotonic() < until:
                answers.append(await self._create())

        await asyncio.gather(*(keep_calling() for _ in self._users))
        return answers

    async def offer(self, rate: float, calls: int) -> list[TimedAnswer]:
        """Call at random moments, `rate` times a second, without waiting for responses (an open loop).

        The duration of a call counts from the moment when it was due.
        """
        under_way: list[asyncio.Task[TimedAnswer]] = []
        gc.disable()  # a pause of the collector would count as latency of the service
        try:
            due = monotonic()
            while len(under_way) < calls:
                await asyncio.sleep(TICK)
                while due < monotonic() and len(under_way) < calls:
                    under_way.append(asyncio.create_task(self._create(due)))
                    due += random.expovariate(rate)
            return await asyncio.gather(*under_way)
        finally:
            gc.enable()

    async def _create(self, due: float | None = None) -> TimedAnswer:
        caller = self._idle.pop() if self._idle else self._service.caller(random.choice(self._users))
        answer = await caller.call("create_task", "POST", caller.tasks, {"title": "one of many"}, due)
        self._idle.append(caller)
        return answer
