"""A turn: one subject under one load for some seconds, and the clocks that are read around it."""

import os

import msgspec

from bench.database import Server
from bench.load import Load, Order, warm_load
from bench.processes import Reading, read
from bench.subjects import Running
from bench.traffic import OPERATIONS, exchanges

CORES = os.cpu_count() or 1

WARM_UP_SECONDS = 1
"""Of load before each turn: pools grow, caches fill."""


class Turn(msgspec.Struct, frozen=True):
    """One subject under one load.

    `service`, `postgres` and `load` are microseconds of processor time per answered request, `rate` is in requests per
    second, latencies are in milliseconds, `memory` is the subject's before and after, in MiB, and `elsewhere` is the
    share of the machine that was used by nothing of ours.
    """

    subject: str
    operation: str
    connections: int
    unexpected: int
    service: float
    postgres: float
    load: float
    rate: float
    p50: float
    p95: float
    p99: float
    memory: tuple[float, float]
    elsewhere: float


def turn(running: Running, server: Server, operation: str, connections: int, seconds: float) -> Turn:
    """Seeds the subject's database, warms the subject up, and measures it."""
    chosen = OPERATIONS[operation]
    server.seed(running.subject.database, chosen.tasks_each)
    order = Order(running.port, connections, WARM_UP_SECONDS, seconds, exchanges(chosen), chosen.once)
    with warm_load(order) as measure:
        before = read(running.pid, server.pid)
        load = measure()
        after = read(running.pid, server.pid)
    return evaluated(running.subject.name, operation, connections, load, before, after)


def evaluated(subject: str, operation: str, connections: int, load: Load, before: Reading, after: Reading) -> Turn:
    """The turn, from what was answered and what that took."""
    service, postgres = after.subject - before.subject, after.postgres - before.postgres
    elsewhere = after.machine - before.machine - service - postgres - load.cpu
    return Turn(
        subject=subject,
        operation=operation,
        connections=connections,
        unexpected=load.unexpected,
        service=service / load.answered * 1e6,
        postgres=postgres / load.answered * 1e6,
        load=load.cpu / load.answered * 1e6,
        rate=load.answered / load.seconds,
        p50=load.p50,
        p95=load.p95,
        p99=load.p99,
        memory=(before.memory, after.memory),
        elsewhere=max(0.0, elsewhere) / load.seconds / CORES,
    )
