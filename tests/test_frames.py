"""How many of the service's own frames are on the stack when asyncpg is called to send a statement."""

import sys
from typing import Any

import pytest

from service.db import connection
from service.db.driver import Arguments, prepared_call
from service.settings import ROOT
from tests.serving import serving


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The functions of the service that call asyncpg for each statement, the innermost first."""
    sent: list[list[str]] = []

    def spied_call(driver: Any, prepared: Any, direct: bool) -> Any:
        call: Any = prepared_call(driver, prepared, direct)
        # A function of the service within the call would not be on the stack below.
        assert call.func.__qualname__.startswith("BaseProtocol."), call

        def spy(arguments: Arguments) -> Any:
            names, frame = [], sys._getframe(1)
            while frame:
                if frame.f_code.co_filename.startswith(str(ROOT / "service")):
                    names.append(frame.f_code.co_qualname)
                frame = frame.f_back  # type: ignore[assignment]
            sent.append(names)
            return call(arguments)

        return spy

    monkeypatch.setattr(connection, "prepared_call", spied_call)
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
