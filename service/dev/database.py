"""The development database: finds or starts it, runs psql on it, and adds example tasks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
from dotenv import dotenv_values

from service.db.url import for_psycopg, location
from service.dev.postgres import PROGRAMS, PostgresError, embedded_postgres, running_postgres
from service.settings import ROOT

DATA = ROOT / ".data"

SERVER_SETTINGS = {"shared_preload_libraries": "pg_stat_statements"}
"""Settings of PostgreSQL that `make report` needs."""

EXTENSION = Path(__file__).with_name("extension.sql")
SEED = Path(__file__).with_name("seed.sql")
SEEDED = {
    "the demo user": (UUID("7a5c0000-0000-4000-8000-000000000001"), 100),
    "another user": (UUID("7a5c0000-0000-4000-8000-000000000002"), 1000),
}


def with_dotenv(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of .env and `environment`, which takes precedence, without empty variables."""
    return {name: value for name, value in {**dotenv_values(ROOT / ".env"), **environment}.items() if value}


@contextmanager
def development_database(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the URL of the database of `make dev`: DATABASE_URL or the server in .data, which is started if needed.

    Raises PostgresError.
    """
    folder = DATA / "postgres"
    if url := with_dotenv(environment).get("DATABASE_URL"):
        yield url
    elif url_of := running_postgres(folder):
        yield url_of("tasks")
    else:
        with embedded_postgres(folder, SERVER_SETTINGS) as url_of:
            yield url_of("tasks")


def add_extension(database_url: str) -> None:
    """Add pg_stat_statements to the database, for `make report`."""
    with psycopg.connect(for_psycopg(database_url)) as connection:
        connection.execute(EXTENSION.read_bytes())


def psql(environment: Mapping[str, str], statement: str | None) -> int:
    """Run psql on the development database, only for `statement` if it is given. Return psql's exit status."""
    with development_database(environment) as url:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql handles Ctrl-C: it cancels the statement
        # psql in PATH is preferred: the embedded psql has no readline.
        command = ["psql", for_psycopg(url), *(["-c", statement] if statement else [])]
        programs = f"{os.environ.get('PATH', '')}:{PROGRAMS}"
        return subprocess.run(command, env={**os.environ, "PATH": programs}).returncode


def seed(environment: Mapping[str, str], confirmed: bool) -> None:
    """Add example tasks to the development database. A database of DATABASE_URL requires `confirmed`."""
    try:
        with development_database(environment) as url:
            if "DATABASE_URL" in with_dotenv(environment) and not confirmed:
                sys.exit(f"error: DATABASE_URL names {location(url)}: add --yes to put example tasks there")
            with psycopg.connect(for_psycopg(url), cursor_factory=psycopg.RawCursor) as connection:
                for name, (user, count) in SEEDED.items():
                    added = connection.execute(SEED.read_bytes(), (user, count)).rowcount
                    print(f"{location(url)}: {added} tasks added for {name}, {user}")
    except psycopg.errors.UndefinedTable:
        sys.exit("error: there are no tables yet: run `make dev` once, or `make migrate`")
    except (PostgresError, psycopg.Error) as error:
        sys.exit(f"error: {error}")
