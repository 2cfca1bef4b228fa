"""The log of failures of the database: the cause, the remedy, the rate, and no value."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import asyncpg
import pytest

from service.db.errors import PoolTimeout
from service.db.failures import REMEDIES, FailureLog, remedy
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
    error = asyncpg.PostgresError.new({"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": "x"})

    assert remedy(error) == REMEDIES[max((key for key in REMEDIES if sqlstate.startswith(key)), key=len)]
