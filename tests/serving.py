"""Serves the real application over HTTP, as in production, and has users that call it."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
import uvloop

from service.auth.authenticator import issue_token
from service.server import configuration
from service.settings import Settings, read_settings

UNKNOWN = "urn:problem:outcome-unknown"

CURSOR_SECRET = "a cursor secret of the tests, 32 bytes long at least"
SECRET = "a secret of the tests, 32 bytes long at least"


def http_client(base_url: str = "", timeout: float = 20) -> httpx.Client:
    """A client for HTTP without TLS. It loads no certificates, because that takes longer than the start of the service.

    It closes no idle connection: httpcore may close a connection that another thread has just acquired (EBADF).
    """
    unlimited = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)
    return httpx.Client(base_url=base_url, timeout=timeout, verify=False, limits=unlimited)


@contextmanager
def blocked_loop(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Block the event loop of another thread. It handles events that occur in the block in its next iteration."""
    begun, ended = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        ended.wait(10)

    loop.call_soon_threadsafe(block)
    begun.wait(10)
    try:
        yield
    finally:
        ended.set()


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a service answers at this port."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with http_client(address) as client, suppress(httpx.TransportError):
        return client.get("/livez").status_code == 200
    return False


class Caller:
    """A user with a token. Its methods are the six calls."""

    def __init__(self, client: httpx.Client, settings: Settings, user_id: UUID) -> None:
        self.id = str(user_id)
        self.tasks = f"/api/{user_id}/tasks"
        self.token = issue_token(settings, user_id, 3600)
        self._client = client

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | more.pop("headers", {})
        return self._client.request(method, path, headers=headers, **more)

    def list(self) -> httpx.Response:
        return self.request("GET", self.tasks)

    def create(self, **members: Any) -> httpx.Response:
        return self.request("POST", self.tasks, json=members)

    def get(self, task_id: str) -> httpx.Response:
        return self.request("GET", f"{self.tasks}/{task_id}")

    def update(self, task_id: str, **members: Any) -> httpx.Response:
        return self.request("PUT", f"{self.tasks}/{task_id}", json=members)

    def complete(self, task_id: str, **more: Any) -> httpx.Response:
        return self.request("PATCH", f"{self.tasks}/{task_id}/complete", **more)

    def delete(self, task_id: str) -> httpx.Response:
        return self.request("DELETE", f"{self.tasks}/{task_id}")


class Api:
    """The application, which `loop` serves at `address`. `anonymous` is a client without a token."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.settings = settings
        self.loop = loop
        self.address = ("127.0.0.1", port)
        self.anonymous = http_client(f"http://127.0.0.1:{port}", 10)

    def caller(self, user_id: UUID | None = None) -> Caller:
        """A new user, or the user with `user_id`."""
        return Caller(self.anonymous, self.settings, user_id or uuid4())

    def pool(self) -> dict[str, int]:
        """The member `pool` of /readyz; empty while the service is not ready."""
        pool: dict[str, int] = self.anonymous.get("/readyz").json().get("pool", {})
        return pool

    def fill(self) -> None:
        """Wait until POOL_MIN_SIZE connections are open. Call it before a lock, which would block new connections."""
        until(lambda: self.pool().get("open", 0) >= self.settings.pool_min_size)


def refused(response: httpx.Response) -> str:
    """The problem type of a 503 response with Retry-After. Fails on another response."""
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    problem: str = response.json()["type"]
    return problem


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until the condition is true. Fails after `seconds`.

    It counts pauses and does not read the clock, because the clock jumps after a virtual machine was suspended.
    """
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    assert condition()


async def until_async(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until the condition is true, while the event loop runs. Fails as `until` does."""
    for _ in range(int(seconds / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    assert condition()


@contextmanager
def logging_restored() -> Iterator[None]:
    """Restore pytest's logging at the end, since the application configures the logging of the process."""
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        for handler in set(logging.root.handlers).difference(handlers):
            handler.flush()
            handler.close()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@contextmanager
def serving(**settings: Any) -> Iterator[Api]:
    """Serve the application as in production, on its own event loop in another thread."""
    values = {
        "JWT_SECRET": SECRET,
        "CURSOR_SECRET": CURSOR_SECRET,
        "PORT": "0",
        "POOL_MIN_SIZE": "2",
        "LOG_LEVEL": "error",
        "PROBE_INTERVAL": "0.1",
    }
    chosen = read_settings(values | {name.upper(): str(value) for name, value in settings.items()})
    loops: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def serve() -> None:
        config = configuration(chosen)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        stop = asyncio.Event()
        await server.startup()
        loops.put((asyncio.get_running_loop(), stop, server.servers[0].sockets[0].getsockname()[1]))
        await stop.wait()
        server.servers[0].close()  # not server.shutdown(), which always sleeps for 0.1 s
        for connection in list(server.server_state.connections):
            connection.transport.close()  # a browser keeps connections open
        await server.lifespan.shutdown()

    with logging_restored(), ThreadPoolExecutor(1) as thread:
        running = thread.submit(uvloop.run, serve())
        loop, stop, port = loops.get(timeout=10)
        api = Api(chosen, loop, port)
        try:
            with api.anonymous:
                yield api
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result()
