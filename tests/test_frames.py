"""How many of the service's own frames lie between the server and the driver when a statement is sent."""

import sys
from typing import Any

import pytest

from service.db import driver
from service.settings import ROOT
from tests.serving import serving


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The functions of the service that wait for each statement, the innermost first."""
    sent: list[list[str]] = []
    bind_execute = driver._bind_execute

    def spy(*arguments: Any) -> Any:
        names, frame = [], sys._getframe(1)
        while frame:
            if frame.f_code.co_filename.startswith(str(ROOT / "service")):
                names.append(frame.f_code.co_qualname)
            frame = frame.f_back  # type: ignore[assignment]
        sent.append(names)
        return bind_execute(*arguments)

    monkeypatch.setattr(driver, "_bind_execute", spy)
    return sent


def test_get_task_passes_through_five_frames(database: str, frames: list[list[str]]) -> None:
    with serving(database_url=database) as api:
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        ada.get(task_id)
        ada.list()

    # A connection that opens meanwhile sends statements too.
    [get] = [names for names in frames if "get_task" in names]
    [read] = [names for names in frames if "list_tasks" in names]
    assert get == ["Connection.run", "Database.run", "get_task", "AuthenticatedEndpoint.__call__", "Cycle.run"]
    assert len(read) == 5
