"""All that the edge uses of uvicorn beyond its documented interface, and a probe that tries it.

uvicorn makes one protocol object for each connection, by its keyword arguments `config`, `server_state`, `app_state`
and `_loop`. At a graceful stop it calls `shutdown()` of each object in `server_state.connections`, and waits until that
set and `server_state.tasks` are empty. `make compat` runs the tests with the oldest and the newest release in the range
of pyproject.toml.
"""

import asyncio
from collections import Counter
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
    config = uvicorn.Config(_app, http=HTTPProtocol, lifespan="off", ws="none", port=0, log_config=None)
    config.load()
    server = uvicorn.Server(config)
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
    await server.startup()
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    state = server.server_state
    if not head.startswith(b"HTTP/1.1 204 ") or len(state.connections) != 1 or state.total_requests != 1:
        missing.append(f"a request was answered with {head!r}")
    stopping = asyncio.create_task(server.shutdown())
    if await reader.read():
        missing.append("Server.shutdown() does not call shutdown() of a connection")
    writer.close()
    await writer.wait_closed()
    await stopping
    return missing


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
