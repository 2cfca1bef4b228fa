"""A real PostgreSQL, a clone of a migrated database for each test, and the real application served over HTTP.

TEST_DATABASE_URL names a server on which the tests may create databases; without it, they start an embedded server.
TEST_CITUS_URL names a server with Citus, on which the tables are distributed: see distributed/README.md.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from service.db.migrations import migrate
from service.db.url import for_psycopg
from service.dev.postgres import embedded_postgres
from service.settings import ROOT
from tests.proxy import Proxy, proxied
from tests.serving import Api, Caller, serving

TEMPLATE = f"task_template_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
"""Each worker of pytest-xdist has its own template: on one server they would drop the template of another worker."""

CITUS = os.environ.get("TEST_CITUS_URL")

MEMORY = Path("/dev/shm")
"""A file system in memory: a test's database of 300 files is created there in a fifth of the time."""


class Postgres:
    """A server on which each test creates its own databases."""

    def __init__(self, url_of: Callable[[str], str], clone: LiteralString = "create database {} template {}") -> None:
        self.url = url_of
        self._clone = clone
        self._admin = psycopg.connect(for_psycopg(url_of("postgres")), autocommit=True)

    def execute(self, statement: LiteralString, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def terminate(self, database: str) -> None:
        """End every session in the database."""
        self._admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (database,)
        )

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        name = f"test_{secrets.token_hex(6)}"
        self.execute(self._clone, name, template)
        yield self.url(name)
        if CITUS:  # else the maintenance daemon of Citus connects again
            self.execute("alter database {} with allow_connections false", name)
        self.execute("drop database {} with (force)", name)

    def close(self) -> None:
        self._admin.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    given = CITUS or os.environ.get("TEST_DATABASE_URL")
    if given:
        server = Postgres(lambda database: urlsplit(given)._replace(path=f"/{database}").geturl())
        yield server
        server.close()
        return
    fast = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
    place = MEMORY if MEMORY.is_dir() and disk_usage(MEMORY).free > 2**30 else None
    with TemporaryDirectory(dir=place) as folder, embedded_postgres(Path(folder, "postgres"), fast) as url_of:
        # file_copy also copies the cache of the system catalogs, so the first connection has less work. It needs a
        # checkpoint, which is cheap only without fsync.
        server = Postgres(url_of, "create database {} template {} strategy file_copy")
        yield server
        server.close()


def distribute(database_url: str) -> None:
    """Run distributed/citus.sql, without its psql commands."""
    script = (ROOT / "distributed" / "citus.sql").read_text()
    statements = [line for line in script.splitlines() if not line.startswith(("\\", "--"))]
    with psycopg.connect(for_psycopg(database_url), autocommit=True) as connection:
        connection.execute("create extension citus")
        connection.execute("\n".join(statements).encode())


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> Iterator[str]:
    postgres.execute("drop database if exists {}", TEMPLATE)
    postgres.execute("create database {}", TEMPLATE)
    migrate(postgres.url(TEMPLATE))
    if CITUS:
        distribute(postgres.url(TEMPLATE))
        # The maintenance daemon of Citus keeps a session in each database, and a template must have no session.
        postgres.execute("alter database {} with allow_connections false", TEMPLATE)
        postgres.terminate(TEMPLATE)
    yield TEMPLATE
    postgres.execute("drop database {} with (force)", TEMPLATE)


@pytest.fixture
def database(postgres: Postgres, template: str) -> Iterator[str]:
    """The URL of a migrated database that only this test uses."""
    with postgres.database(template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database that only this test uses."""
    with postgres.database("template0") as url:
        yield url


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    """A proxy between the service and the test's database. The service connects to `proxy.url`."""
    with proxied(database) as running:
        yield running


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
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file for the log: pytest's capture loses lines that are written while it is read."""
    with (tmp_path / "printed").open("ab") as file:
        monkeypatch.setattr("service.observability.log.STDOUT", file.fileno())
        yield tmp_path / "printed"


@pytest.fixture
def rows(database: str) -> Callable[..., list[Any]]:
    """A function that executes a statement on the test's database and returns its rows."""

    def run(statement: LiteralString, *arguments: Any) -> list[Any]:
        with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []

    return run
