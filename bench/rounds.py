"""The rounds: each has one run of every subject at every load, so that a drift of the machine affects them equally."""

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec

from bench import pgbench
from bench.database import Server
from bench.run import Run, run
from bench.subjects import Subject, running


class Plan(msgspec.Struct, frozen=True):
    """What each round measures, in runs of `seconds`. With `pgbench`, also PostgreSQL without the service."""

    subjects: list[Subject]
    operations: list[str]
    connections: list[int]
    rounds: int
    seconds: float
    pgbench: bool


def runs(plan: Plan, server: Server) -> Iterator[Run]:
    """All runs. Each round starts the subjects again; every second round uses them in reverse order: A B, B A, ..."""
    for number in range(plan.rounds):
        with ExitStack() as stack:
            started = [stack.enter_context(running(subject, server.url(subject.database))) for subject in plan.subjects]
            for operation in plan.operations:
                for connections in plan.connections:
                    rates = {}
                    for one in started if number % 2 == 0 else reversed(started):
                        if operation in one.subject.operations:
                            done = run(one, server, operation, connections, plan.seconds)
                            rates[one.subject.name] = done.rate
                            yield done
                    if plan.pgbench and operation in pgbench.STATEMENTS:
                        service = plan.subjects[0]
                        yield pgbench.run(
                            server, service.database, operation, connections, plan.seconds, rates[service.name]
                        )
