"""A run: one subject under one load, and the processor time that is read before and after it."""

import os

import msgspec

from bench.database import Server
from bench.load import Load, Order, warm_load
from bench.processes import Reading, read
from bench.subjects import Running
from bench.traffic import OPERATIONS, exchanges

CORES = os.cpu_count() or 1

WARM_UP_SECONDS = 1
"""Seconds of load before each run, in which pools grow and caches fill."""


class Run(msgspec.Struct, frozen=True):
    """One subject under one load.

    `service`, `postgres` and `load` are microseconds of processor time per response, `rate` is in requests per second,
    latencies are in milliseconds, `memory` is the subject's before and after, in MiB, and `other_cpu` is the share of
    the machine that processes outside the benchmark used.
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
    other_cpu: float


def run(running: Running, server: Server, operation: str, connections: int, seconds: float) -> Run:
    """Seed the subject's database, warm the subject up, and measure it."""
    chosen = OPERATIONS[operation]
    server.seed(running.subject.database, chosen.tasks_each)
    order = Order(running.port, connections, WARM_UP_SECONDS, seconds, exchanges(chosen), chosen.once)
    with warm_load(order) as measure:
        before = read(running.pid, server.pid)
        load = measure()
        after = read(running.pid, server.pid)
    return evaluated(running.subject.name, operation, connections, load, before, after)


def evaluated(subject: str, operation: str, connections: int, load: Load, before: Reading, after: Reading) -> Run:
    """The run, from the load's results and the two readings."""
    service, postgres = after.subject - before.subject, after.postgres - before.postgres
    other_cpu = after.machine - before.machine - service - postgres - load.cpu
    return Run(
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
        other_cpu=max(0.0, other_cpu) / load.seconds / CORES,
    )
