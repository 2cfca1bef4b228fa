"""One batch: a single entry of the queue for several reads of one statement."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import msgspec

from service.db.connection import Connection
from service.db.queue import Waiter
from service.db.statements import Row, Statement

Outcome = list[Row] | Exception


class Batcher(Protocol):
    """The methods of ReadBatcher that a batch uses."""

    def can_dispatch(self) -> bool: ...
    def start(self, batch: "Batch", connection: Connection) -> None: ...
    def close(self, batch: "Batch") -> None: ...


class Batch(Waiter, kw_only=True, eq=False):
    """Reads of one statement by their arguments, `capacity` at most. Equal reads are sent once."""

    statement: Statement
    capacity: int
    batcher: Batcher
    callers: defaultdict[tuple[Any, ...], list[asyncio.Future[list[Row]]]] = msgspec.field(
        default_factory=partial(defaultdict, list)
    )
    started: float = 0.0
    """When it was sent, and when all its rows had been received: times of `time.perf_counter()`."""
    finished: float = 0.0

    def must_wait(self) -> bool:
        return not self.batcher.can_dispatch()

    def start(self, connection: Connection) -> bool:
        self.batcher.start(self, connection)
        return True

    def fail(self, error: Exception) -> None:
        self.batcher.close(self)
        self.resolve([error] * len(self.callers))

    def timing(self, queued: float) -> tuple[float, float]:
        """Seconds in the queue, and with the database, of a read that joined at `queued`."""
        started = self.started or perf_counter()  # a batch that was refused did not start
        return max(started - queued, 0.0), (self.finished or started) - started

    def resolve(self, outcomes: Sequence[Outcome]) -> None:
        """Give each caller its rows or its exception. The outcomes are in the order of the calls."""
        for callers, outcome in zip(self.callers.values(), outcomes, strict=True):
            for caller in callers:
                if caller.done():
                    continue  # cancelled: its client has disconnected
                if isinstance(outcome, Exception):
                    caller.set_exception(outcome)
                else:
                    caller.set_result(outcome)
