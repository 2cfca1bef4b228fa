"""The log lines of a start and a stop, and the messages of a start that fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.settings import ROOT
from service.version import VERSION, commit
from tests.database import name_of
from tests.serving import SECRET, serving, until


def lines(printed: Path, member: str = "message") -> list[dict[str, Any]]:
    """The log lines with this member."""
    parsed = map(json.loads, printed.read_text().rpartition("\n")[0].splitlines())
    return [line for line in parsed if member in line]


def test_start_and_stop_are_one_line_each(database: str, rows: Callable[..., list[Any]], printed: Path) -> None:
    (version,) = rows("show server_version")[0]
    with serving(database_url=database, log_level="info", workers=1):
        pass
    start, stop = lines(printed)

    assert start["message"] == "started"
    assert start["version"] == VERSION
    assert start["commit"] == commit()
    assert start["database"].endswith(f"/{name_of(database)}")
    assert start["postgresql"] == version.split()[0]
    assert (start["workers"], start["pool"]) == (1, "2-20")
    assert start["changed_settings"] == [
        *("DATABASE_URL", "JWT_SECRET", "CURSOR_SECRET", "PORT", "POOL_MIN_SIZE", "PROBE_INTERVAL"),
    ]
    assert stop["message"] == "stopped"
    assert stop["uptime_seconds"] >= 0
    assert SECRET not in printed.read_text()
    assert database not in printed.read_text()


def test_version_is_that_of_the_package() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_commit_is_that_of_the_images_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.version.ROOT", tmp_path)
    assert commit.__wrapped__() == "unknown"
    (tmp_path / "COMMIT").write_text("abc123\n")
    assert commit.__wrapped__() == "abc123"


@pytest.mark.parametrize(
    ("url", "message", "remedy"),
    [
        ("postgresql://u@127.0.0.1:1/tasks", "ConnectionRefusedError", "Check that the server runs"),
        ("postgresql://u@nowhere.invalid/tasks", "gaierror", "Check the host"),
    ],
)
def test_unreachable_database_is_logged_with_a_remedy(printed: Path, url: str, message: str, remedy: str) -> None:
    with serving(database_url=url, log_level="warning"):
        until(lambda: lines(printed, "remedy"))
    line = lines(printed, "remedy")[0]

    assert line["message"].startswith(f"the database cannot be reached: {message}")
    assert line["database"] in url
    assert line["remedy"].startswith(remedy)


def test_row_level_security_without_its_functions_says_what_to_run(database: str, printed: Path) -> None:
    with serving(database_url=database, row_level_security=True, log_level="warning") as api:
        until(lambda: lines(printed, "remedy"))
        (error,) = api.anonymous.get("/readyz").json()["errors"]

    assert "does not exist" in error["msg"]
    assert lines(printed, "remedy")[0]["remedy"].startswith("Run roles/functions.sql")
