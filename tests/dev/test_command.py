"""The development commands, run in a copy of the project whose path has spaces."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jwt
import psutil
import pytest

from service.db.migrations import bundled, missing
from service.db.url import location
from service.dev.postgres import PostgresError, embedded_postgres
from service.settings import ROOT
from tests.ports import free_port
from tests.serving import until

SECRET = "what two services share, 32 bytes"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy = tmp_path / "my projects" / "task service"
    for name in ("service", "sql", "migrations"):
        shutil.copytree(ROOT / name, copy / name)
    return copy


def start(project: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a command in `project`. Its environment is PATH, a free PORT, SHUTDOWN_DELAY and `environment`."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=project,
        env={"PATH": os.environ["PATH"], "PORT": str(free_port()), "SHUTDOWN_DELAY": "0"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Dev:
    """A running `dev` command: its output, and calls to the service with the printed token."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.printed = ""
        while not re.search("-X DELETE|none to print", self.printed):
            line = process.stdout.readline()
            assert line, self.printed
            self.printed += line
        self.token = "".join(re.findall(r"Bearer ([\w.-]+)", self.printed))
        self.tasks = "".join(re.findall(r"TASKS=(\S+)", self.printed))
        # Without a reachable issuer, /readyz stays 503.
        until(lambda: process.poll() is not None or self.answers("/readyz" if self.token else "/livez"), seconds=60)
        assert process.poll() is None

    def answers(self, path: str) -> bool:
        address = "".join(re.findall(r"service is at ([^ ,]+)", self.printed))
        try:
            with urlopen(f"{address}{path}"):
                return True
        except OSError:  # urllib raises OSError for a 503
            return False

    def call(self, token: str, title: str | None = None) -> Any:
        """Create a task, or list the tasks if there is no title."""
        body = title and json.dumps({"title": title}).encode()
        with urlopen(Request(self.tasks, body or None, {"Authorization": f"Bearer {token}"})) as answer:
            return json.load(answer)

    def stop(self, number: signal.Signals) -> str:
        """Send a signal, and return the output after it."""
        self.process.send_signal(number)
        return self.process.communicate()[0]


@contextmanager
def serving(project: Path, *arguments: str, **environment: str) -> Iterator[Dev]:
    with start(project, "dev", *arguments, **environment) as process:
        try:
            yield Dev(process)
        finally:
            process.send_signal(signal.SIGINT)


def postgres_of(project: Path) -> psutil.Process:
    return psutil.Process(int((project / ".data" / "postgres" / "postmaster.pid").read_text().split()[0]))


def test_dev_keeps_its_data_and_stops_every_process(project: Path) -> None:
    with serving(project) as first:
        task = first.call(first.token, "Buy milk")
        postgres = postgres_of(project)
        printed = first.stop(signal.SIGINT)
    assert (first.process.returncode, "Traceback" in printed, postgres.is_running()) == (0, False, False)
    assert printed.endswith("Stopped.\n")

    with serving(project) as second:
        assert second.call(second.token) == second.call(first.token) == [task]
        postgres = postgres_of(project)
        printed = second.stop(signal.SIGTERM)
    assert (second.process.returncode, "Traceback" in printed, postgres.is_running()) == (0, False, False)


def test_dev_refuses_to_run_twice_and_recovers_from_a_kill(project: Path) -> None:
    with serving(project) as first:
        task = first.call(first.token, "Buy milk")
        with start(project, "dev") as second:
            assert "postgres is in use: is `make dev` running in another terminal?" in second.communicate()[0]
            assert second.returncode == 1
        postgres = postgres_of(project)
        first.stop(signal.SIGKILL)
    assert postgres.is_running()

    with serving(project) as third:
        assert third.call(first.token) == [task]
        assert postgres_of(project) != postgres


def test_dev_uses_the_settings_of_the_environment_and_of_dotenv(project: Path, empty_database: str) -> None:
    (project / ".env").write_text(
        f"JWT_SECRET='{SECRET}'\nJWT_AUDIENCE=tasks\nDATABASE_URL=postgresql://127.0.0.1:1/\n"
    )
    with serving(project, "--migrate", DATABASE_URL=empty_database) as dev:
        with start(project, "token", "--hours", "0.1") as command:
            token = command.communicate()[0].strip()
        assert dev.call(token) == []
    assert not (project / ".data").exists()


def test_dev_names_the_database_of_database_url_and_migrates_it_only_when_asked(
    project: Path, empty_database: str
) -> None:
    with start(project, "dev", DATABASE_URL=empty_database) as command:
        printed = command.communicate()[0]

    assert command.returncode == 1
    assert f"Using the database of DATABASE_URL: {location(empty_database)}\n" in printed
    assert f"error: {location(empty_database)} lacks the migrations {', '.join(bundled())}. `make migrate`" in printed
    assert missing(empty_database) == list(bundled())


def test_seed_and_psql_use_the_database_of_dev(project: Path) -> None:
    def run(*arguments: str, **environment: str) -> str:
        with start(project, *arguments, **environment) as command:
            return str(command.communicate()[0])

    with serving(project) as dev:
        assert "100 tasks added for the demo user" in run("seed")
        assert "0 tasks added for the demo user" in run("seed")
        assert len(dev.call(dev.token)) == 100
        assert "1100" in run("psql", "-c", "select count(*) from tasks")
        dev.stop(signal.SIGINT)
    assert "1100" in run("psql", "-c", "select count(*) from tasks")  # on a server that runs only for this command


def test_seed_of_database_url_is_confirmed_first(project: Path, database: str) -> None:
    for arguments, printed in ((("seed",), "error: DATABASE_URL names"), (("seed", "--yes"), "1000 tasks added")):
        with start(project, *arguments, DATABASE_URL=database) as command:
            assert printed in command.communicate()[0]


def test_dev_lets_the_example_page_call(project: Path, empty_database: str) -> None:
    origin = "http://127.0.0.1:8080"
    with serving(project, "--migrate", DATABASE_URL=empty_database) as dev:
        headers = {"Authorization": f"Bearer {dev.token}", "Origin": origin}
        with urlopen(Request(dev.tasks, headers=headers)) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == origin


def test_dev_prints_no_token_when_an_issuer_makes_them(project: Path, empty_database: str) -> None:
    environment = {"DATABASE_URL": empty_database, "JWKS_URL": "http://127.0.0.1:1/jwks"}
    with serving(project, "--migrate", **environment) as dev:
        assert "issuer" in dev.printed
        assert not dev.token
    with start(project, "token", **environment) as command:
        assert command.communicate()[0].startswith("error: JWT_SECRET is not set")


def test_token_count_prints_a_token_for_each_of_the_same_users(project: Path) -> None:
    def subjects() -> list[str]:
        with start(project, "token", "--count", "200", JWT_SECRET=SECRET) as command:
            printed = command.communicate()[0].splitlines()
        return [jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] for token in printed]

    assert len(set(subjects())) == 200
    assert subjects() == subjects()


def test_token_needs_no_watchfiles(project: Path) -> None:
    (project / "watchfiles.py").write_text("raise ModuleNotFoundError(name='watchfiles')")
    with start(project, "token", JWT_SECRET=SECRET) as command:
        assert jwt.decode(command.communicate()[0].strip(), SECRET, algorithms=["HS256"])


def test_dev_names_the_port_that_is_taken(project: Path, empty_database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(project, "dev", DATABASE_URL=empty_database, PORT=port) as command:
            printed = command.communicate()[0]
    assert f"port {port}: Address already in use. Choose another port, such as PORT={int(port) + 1}\n" in printed
    assert command.returncode == 1


def test_embedded_postgres_starts_beside_a_truncated_lock_file(tmp_path: Path) -> None:
    for left in ("", "\n", "no number\n"):
        with embedded_postgres(tmp_path / "postgres"):
            pass
        (tmp_path / "postgres" / "postmaster.pid").write_text(left)
    with embedded_postgres(tmp_path / "postgres"):
        pass


def test_embedded_postgres_says_why_it_does_not_start(tmp_path: Path) -> None:
    with (
        pytest.raises(PostgresError, match="shared_buffers"),
        embedded_postgres(tmp_path / "postgres", {"shared_buffers": "plenty"}),
    ):
        pass
