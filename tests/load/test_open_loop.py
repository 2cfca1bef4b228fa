"""The open loop: with the real service, and with a service that stalls."""

import asyncio
import signal
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from load.generator import Generator
from load.latency import BOUNDS, Results, cuts
from load.open_loop import run
from load.traffic import MIX, Request, Traffic, User, read_users
from service.settings import ROOT
from tests.serving import Api, until


def plan(api: Api, tokens: Path, **changes: float) -> Namespace:
    host = f"http://127.0.0.1:{api.address[1]}"
    settings = {"rate": 100, "seconds": 1, "connections": 5, "warm_up": 0.2, "tolerance": 1000}
    return Namespace(host=host, tokens=tokens, **(settings | changes))


async def test_open_loop_calls_every_operation_and_deletes_what_it_created(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callers = [api.caller() for _ in range(3)]
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(caller.token for caller in callers))

    assert await run(plan(api, tokens))

    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.split()[0] in (*MIX, "all")}
    assert rows["all"][1:3] == ["100", "0"]
    assert {name: int(rows[name][1]) for name in MIX} == pytest.approx({name: 5 * n for name, n in MIX.items()}, abs=10)
    assert "coordinated omission" in printed
    assert printed.endswith("passed\n")
    assert [caller.list().json() for caller in callers] == [[], [], []]


async def test_open_loop_fails_when_a_bound_is_exceeded(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(api.caller().token)

    assert not await run(plan(api, tokens, seconds=0.4, tolerance=0))

    assert "FAILED: complete_task: too slow" in capsys.readouterr().out


def test_open_loop_deletes_its_tasks_after_sigterm(api: Api, tmp_path: Path, rows: Callable[..., list[Any]]) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(api.caller().token)
    options = ("--host", f"http://127.0.0.1:{api.address[1]}", "--tokens", str(tokens), "--rate", "50")
    process = subprocess.Popen([sys.executable, "-m", "load.open_loop", *options], cwd=ROOT)
    until(lambda: rows("select count(*) from tasks") != [(0,)])

    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 130
    assert rows("select count(*) from tasks") == [(0,)]


def gets(user: User) -> Iterator[Request]:
    while True:
        yield Request("get_task", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, user)


async def test_open_loop_counts_the_wait_behind_a_late_answer() -> None:
    """The service answers the first request when three more are due. The scheduled latency includes their wait."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    three_wait = asyncio.Event()

    class Watched(Generator):
        def start(self, request: Request) -> None:
            super().start(request)
            if len(self._waiting) == 3:
                three_wait.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await three_wait.wait()
        writer.write(answer)
        for _ in range(3):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Watched(host, 1, Traffic("a", [])) as generator:
            generator.results = Results()
            await generator.run_schedule(gets(User("", "")), rate=200, seconds=0.02)

    latencies = generator.results["get_task"]
    assert len(latencies.sent) == 4
    assert latencies.failures == 0
    waited = [scheduled - sent for scheduled, sent in zip(latencies.scheduled, latencies.sent, strict=True)]
    assert waited[1] >= waited[2] >= waited[3] > 0
    assert waited[1] > latencies.sent[1]


async def test_open_loop_counts_a_lost_connection_as_an_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Generator(host, 1, Traffic("a", [])) as generator:
            generator.results = Results()
            await generator.run_schedule(gets(User("", "")), rate=100, seconds=0.03)

    assert generator.results["get_task"].failures == 3
    assert generator.results.reasons_to_fail() == ["get_task: errors"]


def test_traffic_mixes_the_operations_in_fixed_shares() -> None:
    traffic = Traffic("a", [User("/api/u/tasks", "t", ["1", "2"])])
    for _ in range(100):
        traffic._spare.append((traffic._users[0], "3"))

    mixed = Counter(request.operation for request in islice(traffic.requests(), 200))

    assert mixed == {name: 10 * count for name, count in MIX.items()}


def test_open_loop_judges_by_the_bounds_of_the_locustfile() -> None:
    assert BOUNDS.keys() >= MIX.keys()
    p95, p99, _ = BOUNDS["get_task"]
    results = Results()
    assert results.reasons_to_fail() == ["nothing was measured"]
    results["get_task"].scheduled.extend([p95 / 1000] * 99 + [p99 / 1000])
    results["get_task"].sent.extend([0.001] * 100)
    assert results.reasons_to_fail() == []
    results["get_task"].scheduled.extend([p99 / 1000 + 0.001] * 2)
    assert results.reasons_to_fail() == ["get_task: too slow"]


def test_cuts_are_by_nearest_rank() -> None:
    assert cuts([number / 1000 for number in range(1, 101)]) == [50, 95, 99, 100]
    assert cuts([]) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read .*: No such file"),
        ("", "is empty"),
        ("abc", "token 1 of .* is not a JWT"),
        ("a.W10.c", "token 1"),
    ],
)
def test_open_loop_refuses_a_bad_token_file_in_one_line(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)

    with pytest.raises(SystemExit, match=f"^error: .*{words}"):
        read_users(path)
