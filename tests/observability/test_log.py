"""The log: what a line has, whose request it names, and what never stands in it."""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.observability.log import FLUSH_SECONDS, Output, RequestLog
from tests.proxy import Proxy
from tests.serving import Api, serving, until

Lines = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def lines(printed: Path, capfd: pytest.CaptureFixture[str]) -> Lines:
    """Waits for the lines of so many requests, and returns all that were printed."""

    def read(count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found[:] = map(json.loads, printed.read_text().rpartition("\n")[0].splitlines())
            return len(of_requests(found)) >= count

        until(enough)
        assert not capfd.readouterr().err
        return found

    return read


def of_requests(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "operation" in line]


def test_a_request_is_one_line_of_seven_members(database: str, lines: Lines) -> None:
    with serving(database_url=database, log_level="info") as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        answers = [
            ada.list(),
            ada.get(task_id),
            ada.update(task_id, title="y"),
            ada.complete(task_id),
            ada.delete(task_id),
            ada.get(task_id),
            ada.create(),
            ada.request("GET", f"/api/{uuid4()}/tasks"),
            api.anonymous.get(ada.tasks),
            api.anonymous.get("/livez"),
            api.anonymous.get("/nowhere"),
            api.anonymous.post("/livez"),
        ]
        seen = of_requests(lines(1 + len(answers)))

    assert {tuple(line) for line in seen} == {("time", "level", "method", "operation", "status", "ms", "request_id")}
    assert [(line["method"], line["operation"], line["status"]) for line in seen] == [
        ("POST", "create_task", 201),
        ("GET", "list_tasks", 200),
        ("GET", "get_task", 200),
        ("PUT", "update_task", 200),
        ("PATCH", "complete_task", 200),
        ("DELETE", "delete_task", 204),
        ("GET", "get_task", 404),
        ("POST", "create_task", 422),
        ("GET", "list_tasks", 403),
        ("GET", "list_tasks", 401),
        ("GET", "livez", 200),
        ("GET", "unrouted", 404),
        ("POST", "unrouted", 405),
    ]
    assert [line["request_id"] for line in seen[1:]] == [answer.headers["x-request-id"] for answer in answers]
    assert len({line["request_id"] for line in seen}) == len(seen)
    assert {line["level"] for line in seen} == {"info"}
    assert all(0 < line["ms"] < 10_000 for line in seen)
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in seen)


def test_a_sane_request_id_is_taken_over(api: Api) -> None:
    for given in ("a", "0b0e8f5a-3bd6-4f4c-9f4e-6d0c1f1b9f0e", "A.b_c-9", "x" * 64):
        assert api.anonymous.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"] == given


def test_any_other_request_id_is_replaced(api: Api) -> None:
    made = set()
    for given in (b"", b"x" * 65, b"a b", b"a;b", b'{"a":1}', b"<script>", b"a\tb", b"\xe9", b"a%0a"):
        answer = api.anonymous.get("/livez", headers=[(b"X-Request-ID", given)])
        made.add(answer.headers["x-request-id"])
    assert len(made) == 9
    assert all(re.fullmatch("[0-9a-f]+-[0-9a-f]+", number) for number in made)


def test_no_line_has_a_token_a_title_or_the_database_url(
    proxy: Proxy, rows: Callable[..., list[Any]], lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "httpx")  # which is the caller
    caplog.set_level("WARNING", "httpcore")
    rows(
        """create function refuse() returns trigger language plpgsql as $$ begin
            if new.title ~ 'refuse' then raise 'no %%', new.title using detail = new.description; end if;
            return new;
        end $$"""
    )
    rows("create trigger refuse before insert on tasks for each row execute function refuse()")
    with serving(database_url=proxy.url.replace(":@", ":hunter2@"), log_level="debug") as api:
        ada = api.caller()
        ada.create(title="my secret title", description="my secret description")
        failed = ada.create(title="refuse my secret title", description="my secret description")
        ada.request("GET", f"{ada.tasks}?token={ada.token}", headers={"Authorization": f"Basic {ada.token}"})
        proxy.down()
        assert ada.create(title="my secret title").status_code == 503
        seen = lines(4)

    assert failed.status_code == 500
    assert failed.json()["detail"] == "Something went wrong here. It has been logged."
    assert "secret" not in failed.text
    (logged,) = [line for line in seen if "frames" in line]
    assert (logged["error"], logged["sqlstate"], logged["level"]) == ("RaiseError", "P0001", "error")
    assert failed.headers["x-request-id"] in logged["message"]
    assert any("tasks/handlers.py" in frame for frame in logged["frames"])
    printed = json.dumps(lines(0))
    for secret in ("secret", "hunter2", ada.token, ada.token.rpartition(".")[2], ada.id, "postgresql://"):
        assert secret not in printed


def test_warning_logs_failures_alone(proxy: Proxy, lines: Lines) -> None:
    with serving(database_url=proxy.url, log_level="warning") as api:
        ada = api.caller()
        assert [ada.list().status_code, ada.create().status_code] == [200, 422]
        proxy.down()
        assert ada.list().status_code == 503
        (line,) = of_requests(lines(1))

    assert (line["level"], line["operation"], line["status"]) == ("warning", "list_tasks", 503)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe: for whom the log is, and what it is written to."""
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            os.close(end)


def test_lines_past_what_a_stalled_reader_leaves_room_for_are_dropped_and_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    monkeypatch.setattr("service.observability.log.CAPACITY", 1000)
    output = Output(writer)
    requests = RequestLog("info", output)
    written = seen = told = 0
    while output.dropped < 10:
        requests.write("GET", "livez", 200, 0, b"x" * 64)
        written += 1
    with os.fdopen(reader, closefd=False) as lines:
        while told < output.dropped:
            line = json.loads(lines.readline())
            if "operation" in line:
                seen += 1
            else:
                assert line["message"].endswith(" log lines were dropped: standard output was not read")
                told += int(line["message"].split()[0])
        assert seen + told == written
        output.flush()
        requests.write("GET", "livez", 200, 0, b"kept")
        assert json.loads(lines.readline())["request_id"] == "kept"
    output.close()


def test_lines_without_a_reader_do_not_stop_those_after_them(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    requests = RequestLog("info", output)
    os.close(reader)
    requests.write("GET", "livez", 200, 0, b"lost")
    until(lambda: output.dropped == 1)
    reader, another = os.pipe()
    os.dup2(another, writer)
    os.close(another)
    with os.fdopen(reader) as lines:
        assert json.loads(lines.readline())["message"].startswith("1 log lines were dropped")
        requests.write("GET", "livez", 200, 0, b"kept")
        assert json.loads(lines.readline())["request_id"] == "kept"
    output.close()


def test_output_wakes_nobody_while_there_are_no_lines(pipe: tuple[int, int]) -> None:
    others = set(threading.enumerate())
    output = Output(pipe[1])
    (thread,) = set(threading.enumerate()) - others

    def wakes() -> list[str]:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        return re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)

    time.sleep(FLUSH_SECONDS)  # for it to fall asleep
    before = wakes()
    time.sleep(4 * FLUSH_SECONDS)
    assert wakes() == before
    output.close()


def test_stop_writes_what_waits_and_gives_up_on_a_reader_who_stalls(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.observability.log.FLUSH_SECONDS", 3600)
    monkeypatch.setattr("service.observability.log.STOP_SECONDS", 0.1)
    reader, writer = pipe
    output = Output(writer)
    output.put({"operation": "livez"})
    output.flush()
    assert os.read(reader, 100) == b'{"operation":"livez"}\n'
    output.put({"operation": "x" * 1_000_000})
    for _ in range(100):  # once it has given up, it waits no more
        output.flush()
    output.close()
    os.close(reader)  # which ends its thread
