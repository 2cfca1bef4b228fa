"""The checker of `make faults` detects broken promises. The scenarios take minutes and are not tests."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.faults.client import TimedAnswer, p99
from tests.faults.crowd import Crowd
from tests.faults.journal import Journal
from tests.faults.pool_scenarios import served
from tests.faults.service_process import ServiceProcess
from tests.serving import UNKNOWN

PROBLEM_HEADERS = {"content-type": "application/problem+json", "retry-after": "1"}


def timed(status: int, headers: dict[str, str], body: bytes, ended: float = 1) -> TimedAnswer:
    return TimedAnswer(status, headers, body, operation="create_task", began=0, ended=ended)


def answer(status: int, type: str = "about:blank", ended: float = 1) -> TimedAnswer:
    problem = {"type": type, "title": "", "status": status, "detail": ""}
    return timed(status, PROBLEM_HEADERS, json.dumps(problem).encode(), ended)


DONE, MAYBE, REFUSED, NOTHING = answer(201), answer(503, UNKNOWN), answer(503), timed(0, {}, b"")


@pytest.mark.parametrize(
    ("response", "titles", "lost", "twice", "undeclared"),
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
def test_journal_compares_the_table_with_the_responses(
    response: TimedAnswer, titles: list[str], lost: int, twice: int, undeclared: int
) -> None:
    journal = Journal()
    journal.note("a", "a", response)

    difference = journal.compare(titles)

    assert (difference.lost, difference.twice, difference.undeclared) == (lost, twice, undeclared)


def test_journal_expects_the_last_acknowledged_title() -> None:
    journal = Journal()
    journal.note("a", "a", DONE)
    journal.note("a", "a, edited", DONE)
    journal.note("a", None, MAYBE)

    assert journal.compare(["a, edited"]).lost == 0
    assert journal.compare([]).lost == 0
    assert journal.compare(["a"]).lost == 1


def test_journal_counts_acknowledged_tasks_that_are_missing() -> None:
    journal = Journal()
    journal.note("a", "a", DONE)
    journal.note("a", "a, edited", answer(404))

    assert journal.missing == 1


def test_problem_is_none_without_type_status_or_retry_after() -> None:
    assert answer(503).problem
    body = answer(503).body
    assert timed(503, {"content-type": "text/plain"}, body).problem is None
    assert timed(503, {"content-type": "application/problem+json"}, body).problem is None
    assert timed(500, PROBLEM_HEADERS, body).problem is None


async def test_crowd_keeps_its_rate_without_responses(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "log", DATABASE_URL="postgresql://127.0.0.1/nowhere")  # it is not started
    waiting: list[asyncio.StreamWriter] = []

    async def respond_when_all_have_called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        waiting.append(writer)
        if len(waiting) == 20:
            for caller in waiting:
                caller.write(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n")
                caller.close()

    async with await asyncio.start_server(respond_when_all_have_called, "127.0.0.1", service.port):
        answers = await Crowd(service, 2).offer(rate=1000, calls=20)

    assert [answer.status for answer in answers] == [201] * 20
    await service.close()


def test_served_counts_successes_within_the_period() -> None:
    answers = [answer(status, ended=ended) for ended, status in ((9, 201), (10, 201), (11, 503), (11, 201), (12, 201))]

    assert served(answers, 10, 2) == 1


def test_p99_is_the_99th_percentile() -> None:
    assert p99(answer(200, ended=seconds) for seconds in range(200)) == 198
