"""The HTTP edge alone, in front of an application that does what the path says."""

import asyncio
import queue
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from service.api.payloads import Response, problem_response, read_body, send_response
from service.api.problems import UNAUTHORIZED, UNAVAILABLE, Problem
from service.edge.protocol import Protocol
from tests.wire import Address, Wire

LIMIT = 100_000
"""Bytes of a body at most."""

LARGE = 8_000_000
"""Bytes of an answer that no kernel takes off our hands."""


class Application:
    """Notes each request as "METHOD path", and does what the path says: /held waits for `release`, for one."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.given = 0
        """How many bytes of endless answers were sent, as far as the application knows."""
        self.given_up = 0
        """How many endless answers have ended."""
        self.release = asyncio.Event()
        self.refused: Counter[int] = Counter()
        """How often the edge has refused, by status."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(f"{scope['method']} {scope['path']}")
        if scope["path"] == "/silent":
            return
        try:
            response = await self.respond(scope, receive)
        except Problem as problem:
            response = problem_response(problem)
        await send_response(send, response, ())

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
                raise RuntimeError("which the test has asked for")
        return Response(200, scope["path"].encode())

    async def pieces(self, texts: list[str]) -> AsyncIterator[bytes]:
        for text in texts:
            yield text.encode()

    async def endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield bytes(10_000)
                self.given += 10_000
        finally:
            self.given_up += 1


class Edge:
    """The edge, being served at `address` by `loop`."""

    def __init__(self, server: uvicorn.Server, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.application = application
        self.address: Address = server.servers[0].sockets[0].getsockname()
        self.loop = loop
        self._server = server

    @property
    def seen(self) -> list[str]:
        return self.application.seen

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    def wire(self, receive_buffer: int = 0) -> Wire:
        return Wire(self.address, receive_buffer)

    def release(self) -> None:
        """Lets every answer go that /held holds."""
        self.loop.call_soon_threadsafe(self.application.release.set)

    def shutdown(self) -> Future[None]:
        """Begins the graceful stop."""
        return asyncio.run_coroutine_threadsafe(self._server.shutdown(), self.loop)


@contextmanager
def edge(**options: Any) -> Iterator[Edge]:
    """The edge, with `options` of uvicorn's, in a thread of ours."""
    edges: queue.Queue[tuple[Edge, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        application = Application()
        config = uvicorn.Config(
            application, interface="asgi3", http=Protocol, ws="none", lifespan="off", log_config=None, port=0, **options
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        server.lifespan.state["refused"] = application.refused
        stop = asyncio.Event()
        await server.startup()
        edges.put((Edge(server, application, asyncio.get_running_loop()), stop))
        await stop.wait()
        server.servers[0].close()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(uvloop.run, serve())
        served, stop = edges.get(timeout=10)
        try:
            yield served
        finally:
            served.loop.call_soon_threadsafe(stop.set)
            running.result()
