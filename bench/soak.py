"""The soak: half a million requests of all kinds, and the memory of the service on the way."""

from collections.abc import Iterator
from itertools import chain, cycle, islice
from math import inf

import msgspec

from bench.database import Server
from bench.load import Order, warm_load
from bench.processes import read
from bench.subjects import running, service
from bench.traffic import OPERATIONS, exchanges

REQUESTS = 500_000
STEP = 50_000
CONNECTIONS = 50


class Sample(msgspec.Struct, frozen=True):
    """What the service held, in MiB, when it had answered so many requests."""

    answered: int
    unexpected: int
    memory: float


def soak(server: Server) -> Iterator[Sample]:
    """Samples along REQUESTS requests of every operation that leaves the number of tasks as it is."""
    subject = service()
    server.seed(subject.database, tasks_each=20)
    steady = [operation for name, operation in OPERATIONS.items() if name not in ("create", "delete")]
    mixed = cycle(chain.from_iterable(zip(*map(exchanges, steady), strict=True)))
    answered = unexpected = 0
    with running(subject, server.url(subject.database)) as started:
        yield Sample(0, 0, read(started.pid, server.pid).memory)
        while answered < REQUESTS:
            order = Order(started.port, CONNECTIONS, 0, inf, list(islice(mixed, STEP + CONNECTIONS)), once=True)
            with warm_load(order) as measure:
                load = measure()
            answered += load.answered
            unexpected += load.unexpected
            yield Sample(answered, unexpected, read(started.pid, server.pid).memory)
