"""The log of failures of the database: the cause, the remedy, the rate, and no value."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import asyncpg
import pytest

from service.db.errors import ConnectTimeout, DatabaseUnavailable, PoolTimeout
from service.db.failures import MESSAGE_LENGTH, REMEDIES, FailureLog, remedy
from tests.database import locked
from tests.serving import serving, until

Rows = Callable[..., list[Any]]


def failures(printed: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, printed.read_text().rpartition("\n")[0].splitlines())
    return [line for line in lines if line.get("logger") == "service.db.failures"]


@pytest.mark.parametrize(
    ("change", "sqlstate", "message", "remedy"),
    [
        ("alter table tasks rename to things", "42P01", 'relation "tasks" does not exist', "migrations"),
        ("alter table tasks drop column description", "42703", 'column "description"', "migrations"),
        ("alter database {} set default_transaction_read_only = on", "25006", "read-only transaction", "primary"),
    ],
)
def test_failure_of_the_database_is_logged_with_its_cause_and_remedy(
    database: str, rows: Rows, printed: Path, change: LiteralString, sqlstate: str, message: str, remedy: str
) -> None:
    (name,) = rows("select current_database()")[0]
    rows(change.replace("{}", name))
    with serving(database_url=database, log_level="warning", prepared_statements=False) as api:
        ada = api.caller()
        for _ in range(3):
            assert ada.create(title="x").status_code == 503
        until(lambda: failures(printed))
    (line,) = failures(printed)

    assert (line["level"], line["operation"], line["sqlstate"]) == ("warning", "create_task", sqlstate)
    assert message in line["message"]
    assert remedy in line["remedy"]


def test_failure_without_an_sqlstate_is_logged_by_its_exception(database: str, printed: Path) -> None:
    with serving(database_url=database, log_level="warning", statement_timeout=0.2, acquire_timeout=0.2) as api:
        ada = api.caller()
        ada.create(title="x")
        with locked(database, "exclusive"):
            assert ada.create(title="x").status_code == 503
        until(lambda: failures(printed))

    assert failures(printed)[0]["message"] == "create_task failed: TimeoutError"
    assert "STATEMENT_TIMEOUT" in failures(printed)[0]["remedy"]


def postgres_error(sqlstate: str, message: str) -> Exception:
    error: Exception = asyncpg.PostgresError.new({"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": message})
    return error


@pytest.mark.parametrize(
    ("refused", "message", "sqlstate"),
    [
        (postgres_error("08P01", "no such database: x"), "no such database: x (08P01)", "08P01"),
        (postgres_error("08P01", "x" * 1000), f"{'x' * MESSAGE_LENGTH} (08P01)", "08P01"),
        (ConnectTimeout(), "ConnectTimeout", None),
    ],
)
def test_failure_to_connect_is_logged_with_what_refused_the_connection(
    caplog: pytest.LogCaptureFixture, refused: Exception, message: str, sqlstate: str | None
) -> None:
    log = FailureLog(lambda: refused)
    log.note("get_task", DatabaseUnavailable())

    (record,) = caplog.records
    assert record.getMessage() == f"get_task failed: no connection to the database: {message}"
    assert record.members.get("sqlstate") == sqlstate  # type: ignore[attr-defined]
    assert record.members["remedy"] == remedy(refused)  # type: ignore[attr-defined]
    assert log.counts == {"DatabaseUnavailable": 1}


def test_request_that_has_no_connection_is_logged_with_what_refused_it(
    database: str, rows: Rows, printed: Path
) -> None:
    (name,) = rows("select current_database()")[0]
    url = database.replace(name, f"{name}_absent")
    with serving(database_url=url, log_level="warning", acquire_timeout=0.2) as api:
        assert api.caller().list().status_code == 503
        until(lambda: failures(printed))
    (line,) = failures(printed)

    assert line["message"].startswith("list_tasks failed: no connection to the database: database ")
    assert line["message"].endswith("does not exist (3D000)")


def test_failure_that_a_trigger_raises_shows_no_value(database: str, rows: Rows, printed: Path) -> None:
    rows(
        "create function fail() returns trigger language plpgsql as "
        "$$ begin raise exception using errcode = '57014', message = new.title, detail = new.title; end $$"
    )
    rows("create trigger fail before insert on tasks for each row execute function fail()")
    with serving(database_url=database, log_level="warning") as api:
        assert api.caller().create(title="hunter2").status_code == 503
        until(lambda: failures(printed))

    assert failures(printed)[0]["message"] == "create_task failed: SQLSTATE 57014"
    assert "hunter2" not in printed.read_text()


def test_failure_is_logged_once_in_an_interval_with_the_number_of_its_repeats(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter((0.0, 1.0, 9.0, 11.0, 11.0))
    log = FailureLog(log_seconds=10, clock=lambda: next(times))
    for operation in (*["get_task"] * 4, "list_tasks"):
        log.note(operation, PoolTimeout())

    assert [(record.members["operation"], record.members.get("repeats")) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("get_task", None),
        ("get_task", 2),
        ("list_tasks", None),
    ]
    assert log.counts == {"PoolTimeout": 5}


@pytest.mark.parametrize("sqlstate", ["08006", "25006", "26000", "28P01", "42501", "42883", "53300", "55P03", "57P01"])
def test_failure_has_the_remedy_of_its_longest_prefix(sqlstate: str) -> None:
    longest = max((key for key in REMEDIES if sqlstate.startswith(key)), key=len)

    assert remedy(postgres_error(sqlstate, "x")) == REMEDIES[longest]
