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
"""Each worker of pytest-xdist has its own: on a server of TEST_DATABASE_URL they would drop each other's."""

CITUS = os.environ.get("TEST_CITUS_URL")

MEMORY = Path("/dev/shm")
"""Where a test's database, which is 300 files, is made five times as fast as on a disk."""


class Postgres:
    """A server where each test has databases of its own."""

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
        if CITUS:  # the maintenance daemon of Citus connects again
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
        # A copy of the files includes the cache of the catalogs, which saves each first connection some work. It needs
        # a checkpoint, which costs little only without fsync.
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
        # Its maintenance daemon keeps a session in each database, and a template may have none.
        postgres.execute("alter database {} with allow_connections false", TEMPLATE)
        postgres.terminate(TEMPLATE)
    yield TEMPLATE
    postgres.execute("drop database {} with (force)", TEMPLATE)


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
def proxy(database: str) -> Iterator[Proxy]:
    """What stands between a service at `proxy.url` and the test's database."""
    with proxied(database) as between:
        yield between


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
    """A file for the log, in place of standard output: pytest's would lose what is printed while the test reads it."""
    with (tmp_path / "printed").open("ab") as file:
        monkeypatch.setattr("service.observability.log.STDOUT", file.fileno())
        yield tmp_path / "printed"


@pytest.fixture
def rows(database: str) -> Callable[..., list[Any]]:
    """Runs a statement on the test's database, to set up data or to check what no endpoint shows."""

    def run(statement: LiteralString, *arguments: Any) -> list[Any]:
        with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []

    return run
