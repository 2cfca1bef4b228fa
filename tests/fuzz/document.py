"""Whatever the OpenAPI document allows, and whatever it forbids: schemathesis, in all of its phases."""

from uuid import UUID

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.fuzz.tally import Tally
from tests.hostile.target import Target
from tests.wire import Address

EXAMPLES = 60
"""Of each operation in a pass. More of them, and the lists of the pass's user would grow too long to be read often."""


def fuzz(target: Target, tally: Tally, cases: int, seed: int) -> None:
    """Passes, each as a user of its own, until there are cases enough. In the last one the path may be anybody's."""
    users = 0
    while tally.cases < cases and not tally.failures:
        users += 1
        user = str(UUID(int=users))
        one_pass(target.address, tally, seed + users, target.authorization(user), {"path.user_id": user})
    one_pass(target.address, tally, seed, target.authorization(str(UUID(int=0))), {})


def one_pass(address: Address, tally: Tally, seed: int, authorization: str, parameters: dict[str, str]) -> None:
    """Examples, coverage, fuzzing and sequences of calls, once each."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": authorization},
            "parameters": parameters,
            "generation": {"max-examples": EXAMPLES, "database": "none"},
            # no schema can say of which list a cursor is, nor for which task a key was used before
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
