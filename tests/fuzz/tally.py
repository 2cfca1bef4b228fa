"""Counts of cases, statuses and failures; and the checks that every response must pass."""

import json
from collections import Counter
from contextlib import ExitStack
from typing import Any

from service.api.openapi.document import BEFORE_ROUTING
from tests.hostile.target import Target
from tests.wire import Address, Answer, Wire, request

COLUMNS = "{:<10} {:>7} {:>5} {:>9}  {}"
HEADINGS = ("kind", "cases", "5xx", "failures", "answers")


class Tally:
    """The cases of one kind. `statuses` counts responses; a case may have several, or none (0)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.cases = 0
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []

    def row(self) -> str:
        """The row of the table."""
        broken = sum(number for status, number in self.statuses.items() if status >= 500)
        answers = ", ".join(f"{status}: {number}" for status, number in sorted(self.statuses.items()))
        return COLUMNS.format(self.kind, self.cases, broken, len(self.failures), answers)


class Line:
    """A connection, opened again after it has ended. Its responses are counted and checked."""

    def __init__(self, address: Address, tally: Tally) -> None:
        self._address = address
        self._tally = tally
        self._wire: Wire | None = None

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        if self._wire:
            self._wire.__exit__()

    def ask(self, sent: bytes, documented: set[int]) -> Answer:
        """The response to a request. Fails when it is not documented, or when there is none within ten seconds."""
        with ExitStack() as ending:
            wire = ending.enter_context(self._wire or Wire(self._address))
            self._wire = None
            answer = wire.send(sent).answer()
            self._tally.statuses[answer.status] += 1
            assert_promised(answer, documented)
            if answer.headers.get("connection") != "close":
                ending.pop_all()
                self._wire = wire
        return answer


def assert_promised(answer: Answer, documented: set[int]) -> None:
    """Fail on an undocumented status, on 5xx, and on an error without a problem document."""
    assert answer.status in documented, f"{answer.status} is not documented"
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        answer.problem_detail()


def documented(target: Target) -> dict[str, set[int]]:
    """The documented statuses of each operation; under the name "", all of them."""
    document: dict[str, Any] = json.loads(target.ask(request("GET", "/openapi.json")).body)
    unreached = {kind.status for kind in BEFORE_ROUTING}
    found = {
        operation["operationId"]: unreached.union(map(int, operation["responses"]))
        for item in document["paths"].values()
        for operation in item.values()
    }
    return found | {"": unreached.union(*found.values())}
