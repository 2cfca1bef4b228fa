"""The subjects: programs that are measured, and how each is started."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import msgspec

from bench.traffic import OPERATIONS, SECRET, user_id
from service.settings import ROOT
from tests.ports import free_port

START_SECONDS = 30
UVICORN = ["-m", "uvicorn", "--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"]
SEED_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SEED = [str(SEED_PYTHON), *UVICORN, "bench.seed:app"]


class Subject(msgspec.Struct, frozen=True):
    """A program that serves `operations`, and runs in `folder`."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path = ROOT
    operations: frozenset[str] = frozenset(OPERATIONS)

    @property
    def database(self) -> str:
        """The name of the subject's database."""
        return f"bench_{self.name}"


def service(name: str = "service", folder: Path = ROOT) -> Subject:
    """This service, from the files in `folder`."""
    command = [sys.executable, "-m", "service", "serve"]
    return Subject(name, command, {"LOG_LEVEL": "warning", "SHUTDOWN_DELAY": "0"}, folder)


BASELINES = {
    subject.name: subject
    for subject in (
        Subject("floor", [sys.executable, *UVICORN, "bench.floor:app"], {}, operations=frozenset(("get", "list20"))),
        Subject("sqlmodel", SEED, {"POOL_SIZE": "5", "POOL_PRE_PING": "1"}),
        Subject("sqlmodel_tuned", SEED, {"POOL_SIZE": "20", "POOL_PRE_PING": ""}),
    )
}
"""The other subjects. The design that this service replaces is measured twice: with its original pool (5 connections,
up to 15 more, pinged before each use), and with 20 connections that are kept and not pinged."""


class Running(msgspec.Struct, frozen=True):
    """A subject that serves on `port`."""

    subject: Subject
    pid: int
    port: int


def migrate(subject: Subject, database_url: str) -> None:
    """Run the migrations in the subject's folder on its empty database."""
    command = [sys.executable, "-m", "service", "migrate"]
    environment = {**os.environ, "DATABASE_URL": database_url}
    subprocess.run(command, cwd=subject.folder, env=environment, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def running(subject: Subject, database_url: str, log: int | None = None) -> Iterator[Running]:
    """Run the subject; yields when it responds. `log` is the `stdout` of Popen.

    Raises SystemExit when the subject does not start.
    """
    port = free_port()
    wiring = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET, "PORT": str(port), "UVICORN_PORT": str(port)}
    environment = {**os.environ, **subject.environment, **wiring}
    process = subprocess.Popen(subject.command, cwd=subject.folder, env=environment, stdout=log)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"error: {subject.name} does not start")
            time.sleep(0.05)
        yield Running(subject, process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", f"/api/{user_id(1)}/tasks")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True
