"""The measuring: turns of load in interleaved rounds, and the clocks that are read around each."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec

from bench.database import Server
from bench.load import Order, warm_load
from bench.processes import cpu_seconds, machine_seconds, resident_mib
from bench.subjects import Running, Subject, running
from bench.traffic import OPERATIONS, exchanges

CORES = os.cpu_count() or 1


class Plan(msgspec.Struct, frozen=True):
    """What is measured in each round. Times are in seconds."""

    subjects: list[Subject]
    operations: list[str]
    connections: list[int]
    rounds: int
    seconds: float
    warmup: float


class Turn(msgspec.Struct, frozen=True):
    """One subject under one load.

    `service`, `postgres` and `load` are microseconds of processor time per answered request, `rate` is requests per
    second, latencies are in milliseconds, `memory` is what the subject
    held before and after, in MiB, and `elsewhere` is the share of the machine that was used by nothing of ours.
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


def turns(plan: Plan, server: Server) -> Iterator[Turn]:
    """All turns. Each round starts the subjects afresh, and every other one takes them in reverse: A B, B A, ..."""
    for number in range(plan.rounds):
        with ExitStack() as stack:
            started = [stack.enter_context(running(subject, server.url(subject.database))) for subject in plan.subjects]
            for operation in plan.operations:
                for connections in plan.connections:
                    for one in started if number % 2 == 0 else reversed(started):
                        if operation in one.subject.operations:
                            yield turn(one, server, plan, operation, connections)


def turn(running: Running, server: Server, plan: Plan, operation: str, connections: int) -> Turn:
    """Seeds the subject's database, warms the subject up, and measures it."""
    chosen = OPERATIONS[operation]
    server.seed(running.subject.database, chosen.tasks_each)
    order = Order(running.port, connections, plan.warmup, plan.seconds, exchanges(chosen), chosen.once)
    with warm_load(order) as measure:
        memory = resident_mib(running.pid)
        before = cpu_seconds(running.pid), cpu_seconds(server.pid), machine_seconds()
        load = measure()
        after = cpu_seconds(running.pid), cpu_seconds(server.pid), machine_seconds()
    service, postgres, machine = (late - early for early, late in zip(before, after, strict=True))
    return Turn(
        subject=running.subject.name,
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
        memory=(memory, resident_mib(running.pid)),
        elsewhere=max(0.0, machine - service - postgres - load.cpu) / load.seconds / CORES,
    )
