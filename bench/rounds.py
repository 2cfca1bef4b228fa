"""The rounds: every subject takes its turn at every load, again and again, so that what drifts drifts for all."""

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec

from bench import pgbench
from bench.database import Server
from bench.subjects import Subject, running
from bench.turn import Turn, turn


class Plan(msgspec.Struct, frozen=True):
    """What is measured in each round, in turns of `seconds`; with `pgbench`, PostgreSQL by itself too."""

    subjects: list[Subject]
    operations: list[str]
    connections: list[int]
    rounds: int
    seconds: float
    pgbench: bool


def turns(plan: Plan, server: Server) -> Iterator[Turn]:
    """All turns. Each round starts the subjects afresh, and every other one takes them in reverse: A B, B A, ..."""
    for number in range(plan.rounds):
        with ExitStack() as stack:
            started = [stack.enter_context(running(subject, server.url(subject.database))) for subject in plan.subjects]
            for operation in plan.operations:
                for connections in plan.connections:
                    rates = {}
                    for one in started if number % 2 == 0 else reversed(started):
                        if operation in one.subject.operations:
                            done = turn(one, server, operation, connections, plan.seconds)
                            rates[one.subject.name] = done.rate
                            yield done
                    if plan.pgbench and operation in pgbench.STATEMENTS:
                        ours = plan.subjects[0]
                        yield pgbench.turn(
                            server, ours.database, operation, connections, plan.seconds, rates[ours.name]
                        )
