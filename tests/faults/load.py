"""Load like that of a frontend: writers create, edit and delete, readers list and get."""

import asyncio
import random
from collections.abc import Iterator
from itertools import chain, count
from time import monotonic
from uuid import UUID, uuid4

import msgspec

from tests.faults.client import Caller, TimedAnswer, p99
from tests.faults.journal import Journal
from tests.faults.service_process import ServiceProcess

WRITERS = 4
READERS = 4
PAUSE = 0.02
"""Mean seconds between the calls of one user, so that the machine is not overloaded."""

READ = 20
"""The number of tasks of each reader."""

PATIENCE = 5.0
"""Longest wait for the recovery, in seconds. It exceeds the allowed 2 s, so that the table has the actual time."""


class Created(msgspec.Struct):
    id: UUID


class Load:
    """Users of the service. They call from start() until stop()."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.users = [uuid4() for _ in range(WRITERS)]
        self.writers = [service.caller(user) for user in self.users]
        self.readers = [service.caller() for _ in range(READERS)]
        self.journal = Journal()
        self.wrong: list[TimedAnswer] = []
        """Reads that returned wrong data."""
        self.healed_at: float | None = None
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def answers(self) -> list[TimedAnswer]:
        return list(chain.from_iterable(caller.answers for caller in self.writers + self.readers))

    async def start(self) -> None:
        """Create the readers' tasks, then start all users. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(self._create_tasks(reader) for reader in self.readers))
        self._tasks = [asyncio.create_task(self._write(*numbered)) for numbered in enumerate(self.writers)]
        self._tasks += [asyncio.create_task(self._read(reader)) for reader in self.readers]

    async def stop(self) -> None:
        """Stop, and wait for the pending responses. Raises the exception of a user's asyncio task."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def healed(self) -> None:
        """The fault is over. Returns when both reads and writes succeed, or after PATIENCE."""
        self.healed_at = monotonic()
        while monotonic() < self.healed_at + PATIENCE and self.recovery() is None:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)

    def recovery(self) -> float | None:
        """Seconds from the end of the fault until both reads and writes succeeded; None before that."""
        first = [self._first_success(callers) for callers in (self.writers, self.readers)]
        if self.healed_at is None or None in first:
            return None
        return max(moment for moment in first if moment) - self.healed_at

    def _first_success(self, callers: list[Caller]) -> float | None:
        moments = (
            a.ended for caller in callers for a in caller.answers if a.succeeded and a.ended > (self.healed_at or 0)
        )
        return min(moments, default=None)

    def p99(self, since: float, until: float) -> float:
        """The 99th percentile of the calls that began in that time, in seconds."""
        return p99(answer for answer in self.answers if since < answer.began < until)

    async def _create_tasks(self, reader: Caller) -> None:
        created = 0
        while created < READ:
            answer = await reader.call("create_task", "POST", reader.tasks, {"title": "to be read"})
            created += answer.succeeded
            if not answer.succeeded:
                await self._pause()

    async def _write(self, number: int, caller: Caller) -> None:
        for iteration in self._iterations():
            task = f"{number}-{iteration}"
            answer = await caller.call("create_task", "POST", caller.tasks, {"title": task})
            self.journal.note(task, task, answer)
            if answer.status == 201:
                path = f"{caller.tasks}/{msgspec.json.decode(answer.body, type=Created).id}"
                await self._pause()
                edited = f"{task}, edited"
                self.journal.note(task, edited, await caller.call("update_task", "PUT", path, {"title": edited}))
                if iteration % 2:
                    await self._pause()
                    self.journal.note(task, None, await caller.call("delete_task", "DELETE", path))
            await self._pause()

    async def _read(self, caller: Caller) -> None:
        for _ in self._iterations():
            answer = await caller.call("list_tasks", "GET", caller.tasks)
            if answer.status == 200:
                tasks = msgspec.json.decode(answer.body, type=list[Created])
                if len(tasks) != READ:
                    self.wrong.append(answer)
                    continue
                one = random.choice(tasks).id
                await self._pause()
                answer = await caller.call("get_task", "GET", f"{caller.tasks}/{one}")
                if answer.status == 200 and msgspec.json.decode(answer.body, type=Created).id != one:
                    self.wrong.append(answer)
            await self._pause()

    def _iterations(self) -> Iterator[int]:
        for iteration in count():
            if self._stopping:
                return
            yield iteration

    async def _pause(self) -> None:
        await asyncio.sleep(random.uniform(0, 2 * PAUSE))
