"""The open-loop generator: sends requests on a schedule, over connections with one request at a time."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import httptools

from load.latency import Results
from load.traffic import Request, Traffic

TIMEOUT = 10
"""Seconds without a response after which a request fails."""

TICK = 0.001
"""Seconds between two checks of the schedule: the resolution of uvloop's timers."""


class Connection(asyncio.Protocol):
    """A connection with at most one request in flight. It reports each response, and its end, to the generator."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport
        self.request: Request | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._generator.on_connected(self)

    def send(self, request: Request) -> None:
        self.request = request
        request.sent = time.perf_counter()
        self._transport.write(request.payload)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        request, self.request = self.request, None
        if request:
            self._generator.on_response(request, self._parser.get_status_code(), body)
        if self._parser.should_keep_alive():
            self._generator.on_idle(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._generator.on_lost(self)

    def abort(self) -> None:
        self._transport.abort()


class Generator:
    """Sends requests over a fixed number of connections. A request waits if no connection is idle."""

    def __init__(self, host: str, connections: int, traffic: Traffic) -> None:
        parts = urlsplit(host)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = parts.hostname or "", parts.port or (443 if self._tls else 80)
        self._traffic = traffic
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[Request] = deque()
        self._size = connections
        self._checked = 0.0
        self._is_closing = False
        self._opening: set[asyncio.Task[None]] = set()
        self.results: Results | None = None  # None before and after the measured time
        self.measured_from = 0.0
        self.late: list[float] = []
        self.errors: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        """Opens the connections. Raises OSError."""
        for _ in range(self._size):
            await self._open_one()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closing = True
        for connection in list(self._connections):
            connection.abort()
        for task in self._opening:
            task.cancel()
        await asyncio.sleep(0)  # the transports close in the next iteration of the loop

    async def _open_one(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Connection(self), *self._address, ssl=self._tls)

    async def _reopen(self) -> None:
        while True:
            try:
                return await self._open_one()
            except OSError:
                await asyncio.sleep(0.1)

    def start(self, request: Request) -> None:
        """Sends the request now, or when a connection becomes idle."""
        if self._idle:
            self._idle.pop().send(request)
            if self.results is not None and request.due >= self.measured_from:
                self.late.append(request.sent - request.due)
        else:
            self._waiting.append(request)

    def on_connected(self, connection: Connection) -> None:
        self._connections.add(connection)
        self.on_idle(connection)

    def on_idle(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def on_response(self, request: Request, status: int, body: bytes) -> None:
        expected = status == request.status
        if expected and request.operation == "create_task":
            self._traffic.on_created(request, body)
        if not expected:
            kind = f"{request.operation}: {status or 'no answer'}"
            self.errors[kind] = self.errors.get(kind, 0) + 1
        if self.results is not None and request.due >= self.measured_from:
            now = time.perf_counter()
            latencies = self.results[request.operation]
            latencies.scheduled.append(now - request.due)
            latencies.sent.append(now - request.sent)
            latencies.failures += not expected

    def on_lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.request:
            self.on_response(connection.request, 0, b"")
        if self._is_closing:
            return
        task = asyncio.ensure_future(self._reopen())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def run_schedule(self, requests: Iterator[Request], rate: float, seconds: float) -> None:
        """Starts `rate` requests a second, evenly spaced, and waits for their responses."""
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            while time.perf_counter() < due:
                self._expire()
                await asyncio.sleep(TICK)
            if number % 64 == 0:
                await asyncio.sleep(0)  # read responses even when the schedule is late
            request = next(requests)
            request.due = due
            self.start(request)
        await self.drain()

    async def send_all(self, requests: Iterable[Request]) -> None:
        """Sends the requests as fast as the connections allow. Stops early when no connection is left."""
        for request in requests:
            if not self._connections:
                break
            while not self._idle and len(self._waiting) >= self._size:
                self._expire()
                await asyncio.sleep(TICK)
            request.due = time.perf_counter()
            self.start(request)
        await self.drain()

    async def drain(self) -> None:
        """Waits until no request is in flight or waiting."""
        while self._waiting or any(connection.request for connection in self._connections):
            self._expire()
            await asyncio.sleep(0.01)

    def _expire(self) -> None:
        """Fails the requests that were sent, or have waited for a connection, for more than TIMEOUT seconds."""
        oldest = time.perf_counter() - TIMEOUT
        if self._checked < oldest + TIMEOUT - 1:  # once a second is enough
            self._checked = oldest + TIMEOUT
            for connection in list(self._connections):
                if connection.request and connection.request.sent < oldest:
                    connection.abort()
        while self._waiting and self._waiting[0].due < oldest:
            request = self._waiting.popleft()
            request.sent = time.perf_counter()
            self.on_response(request, 0, b"")
