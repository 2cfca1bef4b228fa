"""The checker of `make faults`: what it must not overlook. The faults themselves take minutes, and are no tests."""

import json

import pytest

from faults.client import Answer
from faults.journal import UNKNOWN, Journal


def answer(status: int, type: str = "about:blank") -> Answer:
    problem = {"type": type, "title": "", "status": status, "detail": ""}
    fields = {"content-type": "application/problem+json", "retry-after": "1"}
    return Answer("create_task", 0, 1, status, fields, json.dumps(problem).encode())


DONE, MAYBE, REFUSED, NOTHING = answer(201), answer(503, UNKNOWN), answer(503), Answer("create_task", 0, 1)


@pytest.mark.parametrize(
    ("told", "titles", "lost", "twice", "undeclared"),
    [
        (DONE, ["a"], 0, 0, 0),
        (DONE, [], 1, 0, 0),
        (DONE, ["a", "a"], 0, 1, 0),
        (DONE, ["a, edited"], 1, 0, 0),
        (MAYBE, ["a"], 0, 0, 0),
        (MAYBE, [], 0, 0, 0),
        (MAYBE, ["a", "a"], 0, 1, 0),
        (NOTHING, ["a"], 0, 0, 0),
        (REFUSED, [], 0, 0, 0),
        (REFUSED, ["a"], 0, 0, 1),
        (answer(422), ["a"], 1, 0, 0),
    ],
)
def test_journal_tells_what_is_there_from_what_was_told(
    told: Answer, titles: list[str], lost: int, twice: int, undeclared: int
) -> None:
    journal = Journal()
    journal.note("a", "a", told)

    difference = journal.compare(titles)

    assert (difference.lost, difference.twice, difference.undeclared) == (lost, twice, undeclared)


def test_journal_holds_each_task_to_its_last_acknowledged_title() -> None:
    journal = Journal()
    journal.note("a", "a", DONE)
    journal.note("a", "a, edited", DONE)
    journal.note("a", None, MAYBE)

    assert journal.compare(["a, edited"]).lost == 0
    assert journal.compare([]).lost == 0
    assert journal.compare(["a"]).lost == 1


def test_journal_counts_tasks_that_vanish_under_their_writers() -> None:
    journal = Journal()
    journal.note("a", "a", DONE)
    journal.note("a", "a, edited", answer(404))

    assert journal.missing == 1


def test_problem_is_none_without_what_frontends_rely_on() -> None:
    assert answer(503).problem
    assert Answer("get_task", 0, 1, 503, {"content-type": "text/plain"}, answer(503).body).problem is None
    assert Answer("get_task", 0, 1, 503, {"content-type": "application/problem+json"}, answer(503).body).problem is None
    assert Answer("get_task", 0, 1, 500, answer(503).fields, answer(503).body).problem is None
