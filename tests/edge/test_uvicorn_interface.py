"""The probe of the installed uvicorn: it passes, or it names the missing part."""

from functools import partial
from typing import Any

import pytest
import uvicorn.server

from service import server
from service.edge import uvicorn_interface
from service.edge.protocol import HTTPProtocol
from service.edge.uvicorn_interface import IncompatibleUvicorn, probe
from service.settings import Settings


def test_probe_passes_with_the_installed_release() -> None:
    probe()


def test_probe_names_a_missing_attribute_and_serve_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherState(uvicorn.server.ServerState):
        def __init__(self) -> None:
            super().__init__()
            del self.tasks

    monkeypatch.setattr(uvicorn.server, "ServerState", OtherState)
    with pytest.raises(SystemExit, match=r"error: uvicorn .* OtherState has no attribute 'tasks'"):
        server.serve(Settings(database_url="postgresql://", jwt_secret="x" * 32))


def test_probe_names_an_argument_that_is_not_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_interface, "HTTPProtocol", partial(HTTPProtocol, unknown=1))  # type: ignore[call-arg]
    with pytest.raises(IncompatibleUvicorn, match="unexpected keyword argument 'unknown'"):
        probe()


def test_probe_reports_that_connections_are_not_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def shutdown(self: uvicorn.Server, sockets: Any = None) -> None:
        self.servers[0].close()

    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    monkeypatch.setattr(uvicorn_interface, "PROBE_SECONDS", 0.5)
    with pytest.raises(IncompatibleUvicorn, match=r"does not call shutdown\(\)"):
        probe()
