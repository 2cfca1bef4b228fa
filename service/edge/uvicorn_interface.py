"""All that the service uses of uvicorn beyond its documented interface, and a probe that tries it.

uvicorn makes one protocol object for each connection, with the keyword arguments `config`, `server_state`, `app_state`
and `_loop`. `Server.startup()` and `Server.shutdown()` may be overridden. At a graceful stop, shutdown() closes the
listening sockets, calls `shutdown()` of each object in `server_state.connections`, and waits until that set and
`server_state.tasks` are empty. `make compat` runs the tests with the oldest and the newest release in the range of
pyproject.toml.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from service.edge.limits import Limits
from service.edge.protocol import HTTPProtocol
from service.edge.state import EdgeState

SERVER_STATE_ATTRIBUTES = ("connections", "default_headers", "tasks", "total_requests")
CONFIG_ATTRIBUTES = ("lifespan_class", "loaded_app")

PROBE_SECONDS = 5
REQUEST = b"GET / HTTP/1.1\r\nHost: probe\r\n\r\n"


OnStarted = Callable[[], None] | None


class Server(uvicorn.Server):
    """uvicorn's server. It calls `on_started`, and its graceful stop loses no connection that the kernel accepted."""

    def __init__(self, config: uvicorn.Config, on_started: OnStarted = None) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # The kernel resets the connections that are still in the queue of a listening socket when it is closed.
        loop = asyncio.get_running_loop()
        while accepted := [client for sock in sockets or () for client in accept_all(sock)]:
            for client in accepted:
                await loop.connect_accepted_socket(self._protocol, client)
        await super().shutdown(sockets)

    def _protocol(self) -> HTTPProtocol:
        return HTTPProtocol(self.config, self.server_state, self.lifespan.state)


def accept_all(listening: socket.socket) -> list[socket.socket]:
    """The connections in the queue of a socket that does not block."""
    accepted = []
    with suppress(BlockingIOError):
        while True:
            client, _ = listening.accept()
            client.setblocking(False)
            accepted.append(client)
    return accepted


class IncompatibleUvicorn(Exception):
    """The installed uvicorn does not work with this edge. The message says what is missing."""


def probe() -> None:
    """Serve one request by the installed uvicorn on a loopback port. Raises IncompatibleUvicorn."""
    uvloop.run(_probe())


async def _probe() -> None:
    errors: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(str(context.get("exception") or context["message"])))
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            missing = await _serve_one_request()
    except (Exception, SystemExit) as error:
        missing = [f"{type(error).__name__}: {error}"]
    if missing or errors:
        raise IncompatibleUvicorn(
            f"uvicorn {version('uvicorn')} does not work with this service ({'; '.join(errors or missing)}); "
            "install a release in the range of pyproject.toml"
        )


async def _serve_one_request() -> list[str]:
    """What is missing of the interface."""
    config = uvicorn.Config(_app, http=HTTPProtocol, lifespan="off", ws="none", log_config=None)
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    needed = ((config, CONFIG_ATTRIBUTES), (server.server_state, SERVER_STATE_ATTRIBUTES))
    missing = [
        f"{type(owner).__name__} has no attribute {name!r}"
        for owner, names in needed
        for name in names
        if not hasattr(owner, name)
    ]
    if missing:
        return missing
    server.lifespan.state["edge"] = EdgeState(Limits(), Counter())
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    await server.startup([listening])
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    state = server.server_state
    if not head.startswith(b"HTTP/1.1 204 ") or len(state.connections) != 1 or state.total_requests != 1:
        missing.append(f"a request was answered with {head!r}")
    stopping = asyncio.create_task(server.shutdown([listening]))
    if await reader.read():
        missing.append("Server.shutdown() does not call shutdown() of a connection")
    writer.close()
    await writer.wait_closed()
    await stopping
    return missing


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
