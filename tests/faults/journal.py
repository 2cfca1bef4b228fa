"""The responses to the writes, and the rows that the table may have after them."""

from collections import defaultdict
from collections.abc import Iterable

from tests.faults.client import TimedAnswer
from tests.serving import UNKNOWN


class Journal:
    """For each task, by its first title: the titles that it may have now. None means that the task may be absent."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.missing = 0
        """How many acknowledged tasks later got a 404."""
        self._possible: dict[str, set[str | None]] = {}
        self._declared: dict[str, set[str | None]] = {}

    def note(self, task: str, title: str | None, answer: TimedAnswer) -> None:
        """Record the response to a write that sets the title of `task` to `title`."""
        possible = self._possible.setdefault(task, {None})
        declared = self._declared.setdefault(task, {None})
        if answer.succeeded:
            self.acknowledged += 1
            self._possible[task], self._declared[task] = {title}, {title}
            return
        self.missing += answer.status == 404 and None not in possible
        if answer.status in (0, 503):
            possible.add(title)
            if answer.problem is None or answer.problem.type == UNKNOWN:
                declared.add(title)

    def compare(self, titles: Iterable[str]) -> "Difference":
        """Compare the titles in the table with the possible ones."""
        found: defaultdict[str, list[str | None]] = defaultdict(list)
        for title in titles:
            found[title.partition(",")[0]].append(title)
        difference = Difference()
        for task in self._possible.keys() | found.keys():
            present = found.get(task, [None])
            if len(present) > 1:
                difference.twice += 1
            elif present[0] not in self._possible.get(task, {None}):
                difference.lost += 1
            elif present[0] not in self._declared.get(task, {None}):
                difference.undeclared += 1
        return difference


class Difference:
    """How many tasks differ from what was acknowledged, exist twice, or were changed by a refused write."""

    lost = 0
    twice = 0
    undeclared = 0
