"""All undocumented parts of uvicorn that the service uses, and a probe that tests them.

uvicorn makes one protocol object for each connection, with the keyword arguments `config`, `server_state`, `app_state`
and `_loop`. `server_state` is an attribute of the server. `Server.startup()` and `Server.shutdown()` can be overridden.
At a graceful stop, shutdown() closes the listening sockets, calls `shutdown()` of each object in
`server_state.connections`, and waits until that set and `server_state.tasks` are empty.
`make compat` runs the tests with the oldest and the newest release in the range of pyproject.toml.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.edge.limits import Limits
from service.edge.protocol import HTTPProtocol
from service.edge.state import EdgeState
from service.edge.transport import ignore_connection_attempts

SERVER_STATE_ATTRIBUTES = ("connections", "default_headers", "tasks", "total_requests")
CONFIG_ATTRIBUTES = ("lifespan_class", "loaded_app")

PROBE_SECONDS = 5
REQUEST = b"GET / HTTP/1.1\r\nHost: probe\r\n\r\n"


class Server(uvicorn.Server):
    """uvicorn's server. It calls `on_started`, and its graceful stop loses no connection that the kernel accepted.

    `is_full_stop`, called at the stop, is false if other processes continue to accept connections on the same sockets.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        is_full_stop: Callable[[], bool] = lambda: True,
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._is_full_stop = is_full_stop
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        edge: EdgeState = self.lifespan.state["edge"]
        edge.draining = edge.stopping = True
        if self._is_full_stop():
            for listening in sockets or ():
                ignore_connection_attempts(listening)
            await asyncio.sleep(edge.limits.drain_seconds)  # for handshakes in progress; the loop still accepts
        # When a listening socket is closed, the kernel resets the connections in its queue, so they are accepted first.
        # super().shutdown() closes the sockets before its first await, and the tasks start at that await.
        loop = asyncio.get_running_loop()
        accepted = [client for listening in sockets or () for client in accept_all(listening)]
        tasks = [loop.create_task(loop.connect_accepted_socket(self._protocol, client)) for client in accepted]
        await super().shutdown(sockets)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _protocol(self) -> HTTPProtocol:
        return HTTPProtocol(self.config, self.server_state, self.lifespan.state)


def accept_all(listening: socket.socket) -> list[socket.socket]:
    """Accept all connections in the queue of a non-blocking socket."""
    accepted = []
    with suppress(BlockingIOError):
        while True:
            client, _ = listening.accept()
            client.setblocking(False)
            accepted.append(client)
    return accepted


def standalone_protocol(app: ASGIApp) -> tuple[Callable[[], HTTPProtocol], set[Any]]:
    """Return a protocol factory that serves `app` without uvicorn's server, and the set of its open connections.

    The limits are the defaults. At a stop, the caller calls `shutdown()` of each connection.
    """
    config = uvicorn.Config(app, interface="asgi3", http=HTTPProtocol, ws="none", log_config=None, proxy_headers=False)
    config.load()
    state = uvicorn.Server(config).server_state
    app_state = {"edge": EdgeState(Limits(), Counter())}
    return partial(HTTPProtocol, config=config, server_state=state, app_state=app_state), state.connections


class Missing(Exception):
    """Raised in the probe. The message names what is missing in the installed uvicorn."""


class IncompatibleUvicorn(Exception):
    """The installed uvicorn does not work with this edge. The message names what is missing."""


def probe() -> None:
    """Serve one request with the installed uvicorn on a loopback port. Raises IncompatibleUvicorn."""
    asyncio.run(_probe())


class Disconnect(asyncio.Protocol):
    """Closes each connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _probe() -> None:
    raised: list[Exception] = []  # event loops do not report an exception of a protocol's constructor

    def protocol(**arguments: Any) -> asyncio.Protocol:
        try:
            return HTTPProtocol(**arguments)
        except Exception as error:
            raised.append(error)
            return Disconnect()

    try:
        await _serve_one_request(protocol)
    except (Exception, SystemExit) as error:
        reason = raised[0] if raised else error
        raise IncompatibleUvicorn(
            f"uvicorn {version('uvicorn')} does not work with this service: {reason}; "
            "install a release in the range of pyproject.toml"
        ) from error


async def _serve_one_request(protocol: Any) -> None:
    """Serve one request. With an incompatible release, raises Missing or an exception of any type."""
    config = uvicorn.Config(_app, http=protocol, lifespan="off", ws="none", log_config=None)
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    for owner, names in ((config, CONFIG_ATTRIBUTES), (server.server_state, SERVER_STATE_ATTRIBUTES)):
        for name in names:
            if not hasattr(owner, name):
                raise Missing(f"{type(owner).__name__} has no attribute {name!r}")
    server.lifespan.state["edge"] = EdgeState(Limits(drain_seconds=0), Counter())
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    await server.startup([listening])
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    try:
        writer.write(REQUEST)
        head = await _in_time(reader.readuntil(b"\r\n\r\n"), "a request is not answered")
        if not head.startswith(b"HTTP/1.1 204 "):
            raise Missing(f"a request is answered by {head!r}")
        stopping = asyncio.create_task(server.shutdown([listening]))
        await _in_time(reader.read(), "Server.shutdown() does not call shutdown() of a connection")
        writer.close()
        await stopping
    finally:
        for connection in (writer, *server.server_state.connections):
            connection.transport.abort()
        for listener in server.servers:
            listener.close()
        await asyncio.sleep(0)  # until the transports are closed


async def _in_time(read: Coroutine[None, None, bytes], failure: str) -> bytes:
    try:
        return await asyncio.wait_for(read, PROBE_SECONDS)
    except (TimeoutError, EOFError):
        raise Missing(failure) from None


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
