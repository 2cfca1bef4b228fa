"""Requests that the OpenAPI document allows and forbids, by schemathesis in all of its phases."""

from uuid import UUID

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.fuzz.tally import Tally
from tests.hostile.target import Target
from tests.wire import Address

EXAMPLES = 60
"""Examples for each operation in a pass. With more, the lists of the pass's user become too long."""


def fuzz(target: Target, tally: Tally, cases: int, seed: int) -> None:
    """Run passes, each with a new user, until there are enough cases. In the last pass the paths have any user's id."""
    users = 0
    while tally.cases < cases and not tally.failures:
        users += 1
        user = str(UUID(int=users))
        one_pass(target.address, tally, seed + users, target.authorization(user), {"path.user_id": user})
    one_pass(target.address, tally, seed, target.authorization(str(UUID(int=0))), {})


def one_pass(address: Address, tally: Tally, seed: int, authorization: str, parameters: dict[str, str]) -> None:
    """Run schemathesis once: examples, coverage, fuzzing and sequences of calls."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": authorization},
            "parameters": parameters,
            "generation": {"max-examples": EXAMPLES, "database": "none"},
            # a schema cannot express to which list a cursor belongs, or which task has used an idempotency key
            "checks": {"positive_data_acceptance": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_url("http://{}:{}/openapi.json".format(*address), config=config)
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished(recorder=recorder):
                for interaction in recorder.interactions.values():
                    tally.cases += 1
                    tally.statuses[interaction.response.status_code if interaction.response else 0] += 1
                for check in (check for checks in recorder.checks.values() for check in checks):
                    if check.failure_info:
                        tally.failures.append(f"{check.failure_info.failure}\n{check.failure_info.code_sample}")
            case events.NonFatalError(value=error) | events.FatalError(exception=error):
                tally.failures.append(str(error))
