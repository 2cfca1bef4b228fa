"""The request log: the members of a line, request ids, and the values that it must never contain."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.proxy import Proxy
from tests.serving import SECRET, Api, Caller, serving, until

Rows = Callable[..., list[Any]]
Lines = Callable[[int], list[dict[str, Any]]]

FAIL = """
    create function fail() returns trigger language plpgsql as $$
    begin
        if new.title ~ 'refuse' then
            raise exception using
                errcode = '99999', message = 'cannot keep ' || new.title, detail = new.description, hint = 'hunter2';
        end if;
        return new;
    end
    $$;
    create trigger fail before insert on tasks for each row execute function fail();
"""


@pytest.fixture
def lines(printed: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Lines:
    """A function that waits for the lines of `count` requests and returns all lines printed so far."""
    for client in ("httpx", "httpcore"):  # the client of the tests logs in the same process
        caplog.set_level("WARNING", client)

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
    return [line for line in lines if "request_id" in line]


def test_log_has_one_line_for_each_request_with_its_database_time(database: str, lines: Lines) -> None:
    with serving(database_url=database, log_level="info") as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        responses = [
            ada.list(),
            ada.get(task_id),
            ada.update(task_id, title="y"),
            ada.complete(task_id),
            ada.delete(task_id),
            ada.get(task_id),
            ada.create(),
            ada.get("1"),
            ada.request("GET", f"/api/{uuid4()}/tasks"),
            api.anonymous.get(ada.tasks),
            api.anonymous.get("/nowhere"),
            api.anonymous.post("/livez"),
        ]
        logged = of_requests(lines(1 + len(responses)))

    members = ("time", "level", "method", "operation", "status", "ms", "request_id")
    assert {tuple(line) for line in logged if line["status"] < 401} == {(*members, "db_ms")}
    assert {tuple(line) for line in logged if line["status"] in (401, 403, 405, 422)} == {members}
    assert [(line["method"], line["operation"], line["status"]) for line in logged] == [
        ("POST", "create_task", 201),
        ("GET", "list_tasks", 200),
        ("GET", "get_task", 200),
        ("PUT", "update_task", 200),
        ("PATCH", "complete_task", 200),
        ("DELETE", "delete_task", 204),
        ("GET", "get_task", 404),
        ("POST", "create_task", 422),
        ("GET", "get_task", 422),
        ("GET", "list_tasks", 403),
        ("GET", "list_tasks", 401),
        ("GET", "unrouted", 404),
        ("POST", "unrouted", 405),
    ]
    assert [line["request_id"] for line in logged[1:]] == [response.headers["x-request-id"] for response in responses]
    assert len({line["request_id"] for line in logged}) == len(logged)
    assert {line["level"] for line in logged} == {"info"}
    assert all(0 < line["ms"] < 10_000 for line in logged)
    assert all(0 < line["db_ms"] < line["ms"] for line in logged if "db_ms" in line)
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in logged)


def test_log_has_a_traceparent_that_is_valid(database: str, lines: Lines) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with serving(database_url=database, log_level="info") as api:
        ada = api.caller()
        for traceparent in (trace, f"{trace}-x", "", "hunter2"):
            ada.request("GET", ada.tasks, headers={"traceparent": traceparent})
        logged = of_requests(lines(4))

    assert [line.get("traceparent") for line in logged] == [trace, None, None, None]


@pytest.mark.parametrize(("level", "logged"), [("info", []), ("debug", ["health", "livez", "readyz"])])
def test_log_has_probes_only_at_debug(database: str, lines: Lines, level: str, logged: list[str]) -> None:
    with serving(database_url=database, log_level=level) as api:
        for path in ("/health", "/livez", "/readyz", "/openapi.json"):
            api.anonymous.get(path)
        operations = [line["operation"] for line in of_requests(lines(1 + len(logged)))]

    assert operations == [*logged, "openapi"]


@pytest.mark.parametrize("given", ["a", "0b0e8f5a-3bd6-4f4c-9f4e-6d0c1f1b9f0e", "A.b_c-9", "x" * 64])
def test_request_id_that_is_valid_is_kept(ada: Caller, given: str) -> None:
    for path in (ada.tasks, "/livez", "/nowhere"):
        assert ada.request("GET", path, headers={"X-Request-ID": given}).headers["x-request-id"] == given


def test_request_id_that_is_not_valid_is_replaced(api: Api) -> None:
    made = set()
    for given in (b"", b"x" * 65, b"a b", b"a/b", b"a;b", b'{"a":1}', b"<script>", b"a\tb", b"\xe9", b"a%0a"):
        response = api.anonymous.get("/livez", headers=[(b"X-Request-ID", given)])
        made.add(response.headers["x-request-id"])
    assert len(made) == 10
    assert all(re.fullmatch("[0-9a-f]+-[0-9a-f]+", request_id) for request_id in made)


def test_log_has_no_value_of_a_request_a_row_or_a_setting(proxy: Proxy, rows: Rows, lines: Lines) -> None:
    rows(FAIL)
    with serving(database_url=proxy.url.replace(":@", ":hunter2@"), log_level="debug") as api:
        ada = api.caller()
        task_id = ada.create(title="hunter2", description="hunter2").json()["id"]
        ada.update(task_id, title="hunter2" * 100)
        ada.request("PUT", f"{ada.tasks}/{task_id}", content=b'{"hunter2')
        ada.complete(task_id, json={"completed": "hunter2"})
        ada.request("GET", "/api/hunter2/tasks", params={"hunter2": "hunter2"})
        ada.request("GET", f"{ada.tasks}/hunter2", headers={"X-Request-ID": "not valid: hunter2"})
        ada.request("GET", "/hunter2", headers={"Cookie": "hunter2"})
        ada.request("GET", ada.tasks, headers={"Authorization": f"Basic {ada.token}"})
        ada.request("GET", ada.tasks, headers={"Authorization": "Bearer hunter2.hunter2.hunter2"})
        failed = ada.create(title="refuse hunter2", description="hunter2")
        proxy.down()
        assert ada.list().status_code == 503
        logged = lines(11)

    assert failed.status_code == 500
    assert "hunter2" not in failed.text
    (bug,) = [line for line in logged if "frames" in line]
    assert (bug["error"], bug["sqlstate"], bug["level"]) == ("UnknownPostgresError", "99999", "error")
    assert bug["message"] == f"create_task failed, request {failed.headers['x-request-id']}"
    assert any("tasks/handlers.py" in frame for frame in bug["frames"])
    assert any("A token is refused" in line["message"] for line in logged if "message" in line)
    assert any("the database cannot be reached" in line["message"] for line in logged if "message" in line)
    printed = json.dumps(lines(0))
    for secret in ("hunter2", *ada.token.split("."), SECRET, ada.id, "postgresql://"):
        assert secret not in printed


def test_log_level_warning_logs_only_failures(proxy: Proxy, lines: Lines) -> None:
    with serving(database_url=proxy.url, log_level="warning") as api:
        ada = api.caller()
        assert [ada.list().status_code, ada.create().status_code] == [200, 422]
        proxy.down()
        assert ada.list().status_code == 503
        (line,) = of_requests(lines(1))

    assert (line["level"], line["operation"], line["status"]) == ("warning", "list_tasks", 503)
