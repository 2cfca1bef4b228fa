"""A real PostgreSQL, a clone of a migrated database for each test, and the real application served over HTTP.

TEST_DATABASE_URL names a server where databases may be made; without it the tests bring their own.
"""

import asyncio
import os
import queue
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import uvicorn
import uvloop
from psycopg import sql

from service.auth import issue_token
from service.database_url import for_psycopg
from service.embedded_postgres import embedded_postgres
from service.migrations import migrate
from service.server import configuration
from service.settings import Settings, read_settings

SECRET = "a secret of the tests, 32 bytes long at least"
TEMPLATE = "task_template"


class Caller:
    """Somebody with a token, and short names for the six calls."""

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
    """The application, being served at `address`; `anonymous` calls it without a token."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.settings = settings
        self.address = ("127.0.0.1", port)
        self.anonymous = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def caller(self, user_id: UUID | None = None) -> Caller:
        """A user never seen before, unless `user_id` says who."""
        return Caller(self.anonymous, self.settings, user_id or uuid4())


@contextmanager
def serving(**settings: Any) -> Iterator[Api]:
    """The application as production serves it, with its own event loop, in a thread of ours."""
    values = {"JWT_SECRET": SECRET, "PORT": "0", "POOL_MIN_SIZE": "2", "LOG_LEVEL": "error", "PROBE_INTERVAL": "0.1"}
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
        server.servers[0].close()  # and not server.shutdown(), which always sleeps for 0.1 s
        await server.lifespan.shutdown()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(uvloop.run, serve())
        loop, stop, port = loops.get(timeout=10)
        api = Api(chosen, port)
        try:
            with api.anonymous:
                yield api
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result()


class Postgres:
    """A server where each test has databases of its own."""

    def __init__(self, url_of: Callable[[str], str]) -> None:
        self.url = url_of
        self._admin = psycopg.connect(for_psycopg(url_of("postgres")), autocommit=True)

    def execute(self, statement: LiteralString, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        name = f"test_{secrets.token_hex(6)}"
        self.execute("create database {} template {}", name, template)
        yield self.url(name)
        self.execute("drop database {} with (force)", name)

    def close(self) -> None:
        self._admin.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        server = Postgres(lambda database: urlsplit(given)._replace(path=f"/{database}").geturl())
        yield server
        server.close()
        return
    fast = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
    with embedded_postgres(tmp_path_factory.mktemp("postgres") / "data", fast) as url_of:
        server = Postgres(url_of)
        yield server
        server.close()


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> Iterator[str]:
    postgres.execute("drop database if exists {}", TEMPLATE)
    postgres.execute("create database {}", TEMPLATE)
    migrate(postgres.url(TEMPLATE))
    yield TEMPLATE
    postgres.execute("drop database {}", TEMPLATE)


@pytest.fixture
def database(postgres: Postgres, template: str) -> Iterator[str]:
    """The URL of a migrated database of this test alone."""
    with postgres.database(template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of this test alone."""
    with postgres.database("template0") as url:
        yield url


@pytest.fixture
def api(database: str) -> Iterator[Api]:
    with serving(database_url=database) as running:
        yield running


@pytest.fixture
def ada(api: Api) -> Caller:
    return api.caller()


@pytest.fixture
def bob(api: Api) -> Caller:
    return api.caller()


@pytest.fixture
def rows(database: str) -> Callable[..., list[Any]]:
    """Runs a statement on the test's database: to arrange, and to see what no endpoint shows."""

    def run(statement: LiteralString, *arguments: Any) -> list[Any]:
        with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []

    return run
