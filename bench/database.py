"""The PostgreSQL server of the benchmark: embedded, default settings, over TCP, seeded before each run."""

from collections.abc import Iterator
from contextlib import contextmanager
from shutil import rmtree

import msgspec
import psycopg
from psycopg import sql

from bench.traffic import USERS
from service.dev.postgres import embedded_postgres
from service.settings import ROOT
from tests.ports import free_port

FOLDER = ROOT / ".data" / "bench"

SEED = """
truncate tasks, users;

insert into users (id)
select format('00000000-0000-4000-8000-%%s', lpad(u::text, 12, '0'))::uuid
from generate_series(1, %(users)s) as u;

insert into tasks (id, user_id, title, description, completed, created_at, updated_at)
select
    format('00000000-0000-4001-8000-%%s%%s', lpad(t::text, 6, '0'), lpad(u::text, 6, '0'))::uuid,
    format('00000000-0000-4000-8000-%%s', lpad(u::text, 12, '0'))::uuid,
    format('Task %%s of user %%s: buy what is needed', t, u),
    case when t %% 2 = 0 then 'Milk, bread and a new lamp; see whether the shop still has last week''s offer.' end,
    t %% 3 = 0,
    now() - t * interval '1 hour',
    now() - t * interval '1 hour'
from generate_series(1, %(tasks_each)s) as t, generate_series(1, %(users)s) as u
order by t desc, u;
"""


class Server(msgspec.Struct, frozen=True):
    """A running server. `pid` is its postmaster."""

    pid: int
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def version(self) -> str:
        """The version of PostgreSQL."""
        with psycopg.connect(self.url("postgres")) as connection:
            return connection.info.parameter_status("server_version") or ""

    def create(self, database: str) -> None:
        """Create the database empty. Drops the database of an earlier run."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            name = sql.Identifier(database)
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            connection.execute(sql.SQL("create database {}").format(name))

    def seed(self, database: str, tasks_each: int) -> None:
        """Replace all users and tasks. A user's tasks are spread over the table, as in a table in use."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            psycopg.ClientCursor(connection).execute(SEED, {"users": USERS, "tasks_each": tasks_each})
            connection.execute("vacuum (analyze) users, tasks")
            connection.execute("checkpoint")


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """A server on new data in .data/bench, which is removed at the end. Raises PostgresError if it is in use."""
    port = free_port()
    settings |= {"listen_addresses": "127.0.0.1", "port": str(port), "max_connections": "200"}
    with embedded_postgres(FOLDER, settings):
        yield Server(int((FOLDER / "postmaster.pid").read_text().split()[0]), port)
    rmtree(FOLDER)
