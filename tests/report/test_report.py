"""The DBA's report, on a server with pg_stat_statements after requests, and on a server without the extension."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import psycopg
import pytest

from service.db.migrations import migrate
from service.db.statements import Statement
from service.db.url import for_psycopg
from service.dev.database import SEED, SEEDED, SERVER_SETTINGS, add_extension
from service.dev.postgres import ENVIRONMENT, PROGRAMS, embedded_postgres
from service.report.collect import UNPROTECTED, StatementReport, collect, findings, normalized
from service.report.render import as_html, as_text
from service.settings import ROOT
from tests.database import locked
from tests.serving import serving, until

RUN = {
    "get_task",
    "update_task",
    "update_task_if_match",
    "delete_task",
    "create_task",
    "create_task_once",
    "create_user",
}


@pytest.fixture(scope="module")
def used_database() -> Iterator[str]:
    """A database with example tasks, whose server has counted requests."""
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder, "postgres"), SERVER_SETTINGS) as url_of:
        url = url_of("tasks")
        migrate(url)
        add_extension(url)
        with psycopg.connect(for_psycopg(url), cursor_factory=psycopg.RawCursor, autocommit=True) as connection:
            for user, count in SEEDED.values():
                connection.execute(SEED.read_bytes(), (user, count))
            connection.execute("analyze")
        with serving(database_url=url) as api:
            ada = api.caller()
            task = ada.create(title="x").json()["id"]
            ada.get(task)
            ada.update(task, title="y")
            ada.request("PUT", f"{ada.tasks}/{task}", json={"title": "z"}, headers={"If-Match": '"2"'})
            ada.request("POST", ada.tasks, json={"title": "k"}, headers={"Idempotency-Key": "k"})
            ada.delete(task)
        yield url


def test_report_has_the_costs_of_each_file_that_was_run(used_database: str) -> None:
    statements = {statement.name: statement for statement in collect(used_database).statements}

    assert {name for name, statement in statements.items() if statement.calls} >= RUN
    get = statements["get_task"]
    assert (get.calls, get.rows, get.sorts) == (1, 1, False)
    assert get.milliseconds is not None
    assert get.milliseconds > 0
    assert statements["create_task"].wal_bytes


def test_report_has_the_index_of_each_header_in_the_plan(used_database: str) -> None:
    statements = {statement.name: statement for statement in collect(used_database).statements}

    for name in ("get_task", "update_task", "delete_task", "complete_task"):
        assert statements[name].plan_indexes == [statements[name].index] == ["tasks_by_id"]


def test_report_has_the_generic_plan_of_each_statement(used_database: str) -> None:
    plans = {statement.name: statement.plan for statement in collect(used_database).statements}

    assert plans["get_task"] == [
        "Index Scan using tasks_by_id on tasks",
        "  Index Cond: ((user_id = $1) AND (id = $2))",
    ]
    assert all(plans.values())


def test_report_knows_the_rows_of_a_table_without_statistics(database: str) -> None:
    with serving(database_url=database) as api:
        api.caller().create(title="x")
    with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")

    assert [table["row_count"] for table in collect(database).tables] == [1, 1]


def test_report_has_tables_connections_and_locks(used_database: str) -> None:
    with serving(database_url=used_database) as api:
        api.fill()
        with locked(used_database, "share"):
            report = collect(used_database)

    tasks = next(table for table in report.tables if table["name"] == "tasks")
    assert tasks["row_count"] == sum(count for _, count in SEEDED.values())
    assert (tasks["hot_updates"], tasks["indexes_against_hot"]) == (tasks["updates"], "")
    assert ("task-service", 2) in [(each["program"], each["connections"]) for each in report.connections]
    assert [(lock["name"], lock["mode"], lock["granted"]) for lock in report.locks] == [("tasks", "ShareLock", True)]


def test_report_has_what_waits_for_a_lock(used_database: str) -> None:
    def wait() -> None:
        with locked(f"{used_database}&application_name=waits", "share"):
            pass

    def waiting() -> list[tuple[str, int]]:
        return [
            (lock["program"], len(lock["blocked_by"])) for lock in collect(used_database).locks if not lock["granted"]
        ]

    with ThreadPoolExecutor() as threads, locked(used_database, "access exclusive"):
        waiter = threads.submit(wait)
        until(lambda: waiting() == [("waits", 1)])
        assert any(note.startswith("No sizes") for note in collect(used_database).notes)
    waiter.result()


def test_report_is_the_same_as_text_html_and_json(used_database: str) -> None:
    def run(*arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": used_database}
        command = [sys.executable, "-m", "service", "report", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert "get_task" in run()
    assert "<td>get_task</td>" in run("--html")
    assert "get_task" in [statement["name"] for statement in json.loads(run("--json"))["statements"]]


def test_report_changes_nothing_and_names_what_a_role_cannot_read(used_database: str) -> None:
    with psycopg.connect(for_psycopg(used_database), autocommit=True) as connection:
        connection.execute("create role reader; grant select on tasks to reader")
    with serving(database_url=used_database) as api:
        api.fill()
        report = collect(f"{used_database}&options=-c%20role%3Dreader")
    statements = {statement.name: statement for statement in report.statements}

    assert statements["get_task"].plan_indexes == ["tasks_by_id"]
    assert statements["update_task"].plan_error == "permission denied for table tasks"
    assert any(note.startswith("Some plans are missing") for note in report.notes)
    assert any("grant pg_read_all_stats" in note for note in report.notes)
    assert ("task-service", "hidden") in [(each["program"], each["state"]) for each in report.connections]
    assert "unknown" in as_text(report)
    assert "permission denied for table tasks" in as_html(report)


def test_report_counts_the_functions_of_row_level_security(used_database: str) -> None:
    def calls() -> int:
        return next(each.calls for each in collect(used_database).statements if each.name == "get_task")

    for script in ("create.sql", "functions.sql"):
        command = [str(PROGRAMS / "psql"), "--quiet", "--file", f"roles/{script}", for_psycopg(used_database)]
        subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    before = calls()
    with psycopg.connect(for_psycopg(used_database), cursor_factory=psycopg.RawCursor) as connection:
        connection.execute("set pg_stat_statements.track = 'all'")
        connection.execute(Statement("get_task").call.encode(), (UUID(int=1), UUID(int=2)))

    assert calls() == before + 1


def test_row_level_security_that_is_off_beside_its_functions_is_a_finding(database: str) -> None:
    assert collect(database).findings == []
    with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
        connection.execute("create function get_task() returns void language sql as ''")
        connection.execute("comment on function get_task is 'A statement of the task service.'")
        assert collect(database).findings == [UNPROTECTED]
        connection.execute("alter table tasks enable row level security")
        assert collect(database).findings == []


def test_report_without_pg_stat_statements_says_how_to_get_it(database: str) -> None:
    report = collect(database)

    assert any("create extension pg_stat_statements" in note for note in report.notes)
    assert {statement.calls for statement in report.statements} == {0}
    assert "create extension" in as_html(report)


@pytest.mark.parametrize(
    ("budget", "buffers", "indexes", "sorts", "found"),
    [
        ("5 buffers, no sort", 5.0, ["by_id"], False, []),
        ("5 buffers, no sort", 5.1, ["by_id"], False, ["get: 5.1 buffers a call, its budget is 5"]),
        ("5 buffers and 2 a row, no sort", 25.0, ["by_id"], False, []),
        ("5 buffers, no sort", 1.0, [], True, ["get: the plan does not use by_id", "get: the plan sorts"]),
        ("none: it sorts", 9999.0, ["by_id"], True, []),
        ("none: it sorts", 9999.0, ["other"], True, []),
        ("none: it sorts", 9999.0, [], True, ["get: the plan does not use by_id"]),
        ("5 buffers, no sort", 1.0, ["other"], False, ["get: the plan does not use by_id"]),
        (None, None, None, None, []),
    ],
)
def test_finding_is_a_cost_or_plan_beyond_the_header(
    budget: str | None, buffers: float | None, indexes: list[str] | None, sorts: bool | None, found: list[str]
) -> None:
    statement = StatementReport("get", "by_id", indexes, sorts, budget=budget, buffers=buffers, rows=10)

    assert [
        finding[: len(start)] for finding, start in zip(findings(statement, plans=True), found, strict=True)
    ] == found


@pytest.mark.parametrize(
    "counted",
    [
        "select a from t where b = $1 and c > interval $2 and d is null limit $3",
        "/* x */ SELECT a\nFROM t -- y\nWHERE b = $1 and c > interval '1 day' and d is null limit 5;",
    ],
)
def test_statement_is_found_without_its_comments_and_constants(counted: str) -> None:
    text = "-- get: it\nselect a\nfrom t\nwhere b = $1 and c > interval '1 day' and d is null\nlimit 10\n"

    assert normalized(counted) == normalized(text)
