"""The HTTP edge without the service, with an application whose response depends on the path."""

import asyncio
import queue
import socket
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import uvicorn
import uvloop
from starlette.types import Message, Receive, Scope, Send

from service.api.payloads import Response, problem_response, read_body, send_response
from service.api.problems import UNAUTHORIZED, UNAVAILABLE, Headers, Problem
from service.edge.limits import Limits
from service.edge.protocol import HTTPProtocol
from service.edge.state import EdgeState, RequestHeaders, no_headers
from service.edge.uvicorn_interface import Server
from tests.wire import Address, Wire

LIMIT = 100_000
"""The most bytes of a request body."""

LARGE = 8_000_000
"""Bytes of a response that is larger than the kernel's buffers."""


DEFAULTS = Limits()


class Application:
    """Records each request as "METHOD path". Its response depends on the path: /held waits for `release`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.sent_bytes = 0
        """The bytes of endless responses that were sent."""
        self.aborted = 0
        """The number of endless responses that have ended."""
        self.release = asyncio.Event()
        self.refused: Counter[int] = Counter()
        """Counts, by status, the responses that the edge made without the application."""
        self.has_middleware = False
        self.messages: list[str] = []
        """The types of the messages that the middleware received."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(f"{scope['method']} {scope['path']}")
        if scope["path"] == "/silent":
            return
        try:
            response = await self.respond(scope, receive)
        except Problem as problem:
            response = problem_response(problem)

        async def record(message: Message) -> None:
            self.messages.append(message["type"])
            await send(message)

        await send_response(record if self.has_middleware else send, response, ())

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        match scope["path"]:
            case "/echo":
                return Response(200, await read_body(receive, dict(scope["headers"]), LIMIT))
            case "/headers":
                await read_body(receive, dict(scope["headers"]), LIMIT)
                return Response(200, msgspec.json.encode([name.decode() for name, _ in scope["headers"]]))
            case "/twice":
                await asyncio.gather(receive(), receive())
            case "/early":
                raise Problem(UNAUTHORIZED)
            case "/held":
                await self.release.wait()
            case "/held/echo":
                await self.release.wait()
                return Response(200, await read_body(receive, dict(scope["headers"]), LIMIT))
            case "/nothing":
                return Response(204, headers=())
            case "/large":
                return Response(200, bytes(LARGE))
            case "/pieces":
                return Response(200, b"one,", more=self.pieces(["two,", "", "three"]))
            case "/endless":
                return Response(200, bytes(10_000), more=self.endless())
            case "/unavailable":
                raise Problem(UNAVAILABLE)
            case "/broken":
                raise RuntimeError("the test asks for this error")
        return Response(200, scope["path"].encode())

    async def pieces(self, texts: list[str]) -> AsyncIterator[bytes]:
        for text in texts:
            yield text.encode()

    async def endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield bytes(10_000)
                self.sent_bytes += 10_000
        finally:
            self.aborted += 1


class Edge:
    """A running edge at `address`. `loop` is its event loop."""

    def __init__(self, server: Server, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.application = application
        self.state: EdgeState = server.lifespan.state["edge"]
        self.loop = loop
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listening.getsockname()

    async def start(self) -> None:
        await self._server.startup([self._listening])

    @property
    def seen(self) -> list[str]:
        return self.application.seen

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    def wire(self, receive_buffer: int = 0) -> Wire:
        return Wire(self.address, receive_buffer)

    def release(self) -> None:
        """Complete the requests to /held."""
        self.loop.call_soon_threadsafe(self.application.release.set)

    def shutdown(self) -> Future[None]:
        """Begin the graceful stop."""
        return asyncio.run_coroutine_threadsafe(self._server.shutdown([self._listening]), self.loop)


def allow_any_origin(headers: RequestHeaders) -> Headers:
    return tuple((b"access-control-allow-origin", value) for name, value in headers if name == b"origin")


@contextmanager
def edge(
    limits: Limits = DEFAULTS, *, exempt_paths: Collection[str] = (), cors: bool = False, **options: Any
) -> Iterator[Edge]:
    """Run the edge with `limits`, and uvicorn with `options`, in a thread of its own."""
    edges: queue.Queue[tuple[Edge, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        application = Application()
        config = uvicorn.Config(
            application,
            interface="asgi3",
            http=HTTPProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            **options,
        )
        config.load()
        server = Server(config)
        server.lifespan = config.lifespan_class(config)
        server.lifespan.state["edge"] = EdgeState(
            limits, application.refused, exempt_paths, allow_any_origin if cors else no_headers
        )
        stop = asyncio.Event()
        running = Edge(server, application, asyncio.get_running_loop())
        await running.start()
        edges.put((running, stop))
        await stop.wait()
        server.servers[0].close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()  # otherwise uvloop waits for them after a failed test
        await asyncio.sleep(0)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(uvloop.run, serve())
        served, stop = edges.get(timeout=10)
        try:
            yield served
        finally:
            served.loop.call_soon_threadsafe(stop.set)
            running.result()
