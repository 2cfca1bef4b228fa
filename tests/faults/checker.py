"""The promises that hold in every scenario, and the figures of the table."""

from collections import Counter
from typing import LiteralString

import msgspec

from service.db.connection import CANCEL_SECONDS
from tests.faults.environment import Environment

HEALING = 2.0
"""The longest allowed time from the end of a fault to the first success, in seconds."""

SLACK = 0.5
"""Seconds that an answer may take beyond the deadlines of the database."""

TITLES: LiteralString = "select title from tasks where user_id = any(%s)"


class Outcome(msgspec.Struct):
    """The results of one scenario. `broken` lists the promises that were not kept."""

    answers: int = 0
    refused: int = 0
    saved: int = 0
    lost: int = 0
    no_problem: int = 0
    slowest: float | None = None
    healed: float | None = None
    restarts: int = 0
    took: float = 0.0
    broken: list[str] = []
    notes: list[str] = []


async def judge(environment: Environment) -> Outcome:
    """Stop the load, compare the acknowledged writes with the table, and add this to the scenario's own findings."""
    outcome = Outcome(broken=environment.broken, notes=environment.notes)
    if environment.load and environment.reference:
        load, journal = environment.load, environment.load.journal
        await load.stop()
        difference = journal.compare(title for (title,) in await environment.reference.execute(TITLES, load.users))
        outcome.saved, outcome.lost = journal.acknowledged, difference.lost
        environment.require(
            bool(difference.lost) == environment.expects_loss, f"{difference.lost} tasks not as acknowledged"
        )
        environment.require(
            not journal.missing or environment.expects_loss, f"{journal.missing} acknowledged tasks are missing"
        )
        environment.require(not difference.twice, f"{difference.twice} tasks made twice")
        undeclared = difference.undeclared and not environment.expects_loss  # a lost task may look deleted
        environment.require(not undeclared, f"{difference.undeclared} refused writes were executed")
        environment.require(not load.wrong, f"{len(load.wrong)} reads returned wrong data")
        if load.healed_at:
            outcome.healed = load.recovery()
            environment.require(outcome.healed is not None and outcome.healed <= HEALING, "no recovery in time")
    answers = [answer for service in environment.services for caller in service.callers for answer in caller.answers]
    outcome.answers = len(answers)
    outcome.refused = sum(answer.status == 503 for answer in answers)
    outcome.no_problem = sum(answer.status >= 400 and answer.problem is None for answer in answers)
    environment.require(not outcome.no_problem, f"{outcome.no_problem} refusals without a problem document")
    strange = Counter(answer.status for answer in answers if not answer.succeeded and answer.status not in (0, 503))
    if not environment.expects_loss:
        environment.require(not strange, f"unexpected statuses: {dict(strange)}")
    for service in environment.services:
        environment.broken.extend(f"the service logged an error: {error}" for error in service.errors()[:3])
    unanswered = sum(not answer.status for answer in answers)
    environment.require(environment.hangs_up or not unanswered, f"{unanswered} calls without an answer")
    outcome.slowest = max((answer.seconds for answer in answers), default=None)
    for service in environment.services:
        limit = service.settings.acquire_timeout + service.settings.statement_timeout + CANCEL_SECONDS + SLACK
        environment.require((outcome.slowest or 0) <= limit, f"an answer took longer than {limit:.1f} s")
    outcome.restarts = sum(service.restarts for service in environment.services)
    environment.require(
        outcome.restarts == environment.expected_restarts, f"{outcome.restarts} restarts of the service"
    )
    return outcome
