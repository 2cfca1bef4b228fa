"""`python -m service serve` as a process: how it starts, refuses to start, and stops."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.settings import ROOT, read_settings
from tests.database import BLOCKED, locked
from tests.ports import free_port, listens
from tests.proxy import proxied
from tests.service_process import start_service, workers_of
from tests.serving import SECRET, UNKNOWN, Caller, answers, http_client, refused, until
from tests.wire import Wire, call_until_refused, request

NOWHERE = "postgresql://127.0.0.1:1/none"


class Served:
    """A service in a separate process."""

    def __init__(self, process: "subprocess.Popen[str]", client: httpx.Client, caller: Caller) -> None:
        self.process = process
        self.client = client
        self.address = ("127.0.0.1", int(client.base_url.port or 0))
        self.ada = caller

    def ready(self) -> int | None:
        """The status of /readyz; None when no connection is accepted."""
        try:
            return self.client.get("/readyz").status_code
        except httpx.TransportError:
            return None

    def ended(self) -> int:
        """Wait for the end of the process. Returns its exit status. Fails when it has printed a traceback."""
        printed, _ = self.process.communicate(timeout=20)
        assert "Traceback" not in printed, printed
        return self.process.returncode


def start(**environment: str) -> "subprocess.Popen[str]":
    return start_service(environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextmanager
def served(database_url: str, **settings: str) -> Iterator[Served]:
    """Start the service, and yield it when it is ready."""
    port = free_port()
    environment = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET, "PORT": str(port)} | settings
    with start(**environment) as process, http_client(f"http://127.0.0.1:{port}") as client:
        running = Served(process, client, Caller(client, read_settings(environment), uuid4()))
        try:
            until(lambda: running.ready() == 200, 20)
            yield running
        finally:
            process.terminate()


def test_sigterm_makes_readyz_503_and_running_requests_finish(database: str, rows: Callable[..., list[Any]]) -> None:
    settings = {"SHUTDOWN_DELAY": "1.5", "STATEMENT_TIMEOUT": "30"}
    with served(database, **settings) as service, ThreadPoolExecutor() as threads:
        service.ada.create(title="x")
        with locked(database, "exclusive"):
            under_way = threads.submit(service.ada.create, title="y")
            until(lambda: rows(BLOCKED))
            service.process.terminate()
            until(lambda: service.ready() == 503)
            assert service.client.get("/readyz").json()["errors"][0]["msg"] == "stopping"
            assert service.client.get("/livez").status_code == 200
            service.process.terminate()  # a second SIGTERM changes nothing
            time.sleep(0.3)
            assert [task["title"] for task in service.ada.list().json()] == ["x"]
            until(lambda: service.ready() is None)
            assert service.process.poll() is None
        assert under_way.result().status_code == 201
        assert service.ended() == 0


@pytest.mark.parametrize("tls", [False, True])
def test_write_that_hangs_at_the_stop_is_cancelled_at_its_deadline(
    database: str, rows: Callable[..., list[Any]], tls: bool
) -> None:
    settings = {"SHUTDOWN_DELAY": "0", "SHUTDOWN_TIMEOUT": "1", "STATEMENT_TIMEOUT": "60", "ACQUIRE_TIMEOUT": "60"}
    settings["POOL_MIN_SIZE"] = "1"  # the lock would also block the preparation of statements on a new connection
    with (
        proxied(database, tls) as proxy,
        served(proxy.url, **settings) as service,
        ThreadPoolExecutor() as threads,
    ):
        service.ada.create(title="x")
        with locked(database, "exclusive"):
            hangs = threads.submit(service.ada.create, title="y")
            until(lambda: rows(BLOCKED))
            service.process.terminate()
            assert service.ended() == 0
            assert refused(hangs.result()) == UNKNOWN
            until(lambda: not rows(BLOCKED))
        assert rows("select title from tasks") == [("x",)]


def test_service_that_is_not_ready_logs_no_ready_at_the_stop() -> None:
    port = str(free_port())
    process = start(DATABASE_URL=NOWHERE, JWT_SECRET=SECRET, PORT=port, SHUTDOWN_DELAY="1", PROBE_INTERVAL="0.1")
    assert process.stdout
    assert any('"message":"not ready: ' in line for line in process.stdout)
    process.terminate()
    printed, _ = process.communicate(timeout=20)
    assert '"message":"stopped"' in printed
    assert '"message":"ready"' not in printed


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("delay", ["0", "0.3"])
def test_busy_clients_lose_no_request_at_a_stop(database: str, workers: str, delay: str) -> None:
    with served(database, WORKERS=workers, SHUTDOWN_DELAY=delay) as service, ThreadPoolExecutor(12) as threads:
        statuses: list[int] = []
        calls = [threads.submit(call_until_refused, service.address, statuses) for _ in range(12)]
        until(lambda: len(statuses) > 200)
        service.process.terminate()
        assert service.ended() == 0
        assert sum(call.result() for call in calls) == 0
    assert set(statuses) == {200}


def test_address_accepts_connections_after_workers_are_replaced(database: str) -> None:
    with served(database, WORKERS="2", SHUTDOWN_DELAY="0") as service:
        workers = workers_of(service.process.pid, zombies=True)
        service.process.send_signal(signal.SIGHUP)
        until(lambda: not workers & workers_of(service.process.pid, zombies=True))
        for _ in range(20):
            with Wire(service.address) as wire:
                assert wire.send(request("GET", "/livez")).answer().status == 200


def test_responses_close_their_connection_from_sigterm_on(database: str) -> None:
    with served(database, SHUTDOWN_DELAY="1") as service:
        assert "connection" not in service.client.get("/livez").headers
        service.process.terminate()
        until(lambda: service.ready() == 503)
        assert service.client.get("/livez").headers["connection"] == "close"


def test_workers_accept_no_connection_while_the_last_request_is_answered(
    database: str, rows: Callable[..., list[Any]]
) -> None:
    settings = {"WORKERS": "2", "SHUTDOWN_DELAY": "0", "STATEMENT_TIMEOUT": "30"}
    with served(database, **settings) as service, ThreadPoolExecutor() as threads:
        service.ada.create(title="x")
        with locked(database, "exclusive"):
            in_progress = threads.submit(service.ada.create, title="y")
            until(lambda: rows(BLOCKED))
            service.process.terminate()
            until(lambda: not listens(service.address[1]))
            assert service.process.poll() is None
        assert in_progress.result().status_code == 201
        assert service.ended() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("host", "reached"), [("::", ["127.0.0.1", "::1"]), ("::1", ["::1"]), ("0.0.0.0", ["127.0.0.1"])]
)
def test_host_means_the_same_with_one_worker_and_with_several(host: str, reached: list[str], workers: str) -> None:
    port = str(free_port())
    environment = {"JWT_SECRET": SECRET, "DATABASE_URL": NOWHERE, "PORT": port, "HOST": host, "WORKERS": workers}
    with start(**environment, SHUTDOWN_DELAY="0") as process:
        try:
            for address in ("127.0.0.1", "::1"):
                if address in reached:
                    until(partial(answers, int(port), address), 20)
                else:
                    assert not answers(int(port), address)
            health = [sys.executable, "-m", "service", "health"]
            # 1: it responds, and is not ready without a database
            assert subprocess.run(health, cwd=ROOT, env={"PORT": port, "HOST": host}).returncode == 1
        finally:
            process.terminate()


def test_workers_share_the_port_are_replaced_and_stop_together(database: str) -> None:
    with served(database, WORKERS="2", SHUTDOWN_DELAY="0") as service:
        workers = partial(workers_of, service.process.pid, zombies=True)

        def answering() -> int:
            """How many workers have made the ids of a few requests."""
            ids = set()
            for _ in range(20):
                with http_client(str(service.client.base_url)) as client:
                    ids.add(client.get("/livez").headers["x-request-id"].partition("-")[0])
            return len(ids)

        until(lambda: answering() == 2)
        first, second = workers()
        first.kill()
        until(lambda: len(workers()) == 2 and first not in workers())
        assert second in workers()
        until(lambda: service.ready() == 200)
        assert service.ada.create(title="x").status_code == 201
        last = workers()
        service.process.terminate()
        assert service.ended() == 0
        assert not any(worker.is_running() for worker in last)


def test_stalled_log_reader_delays_neither_requests_nor_the_stop(database: str) -> None:
    with served(database, SHUTDOWN_DELAY="0") as service:
        for _ in range(1000):  # the lines of 500 fill a pipe
            assert service.client.get("/livez").status_code == 200
        service.process.terminate()
        assert service.process.wait(timeout=10) == 0


def test_ctrl_c_stops_without_output(database: str) -> None:
    with served(database, LOG_LEVEL="warning") as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.communicate(timeout=20)[0] == ""
        assert service.process.returncode == 0


def test_start_that_cannot_work_is_refused_in_one_line() -> None:
    url, workers = "postgresql://127.0.0.1:1/none", {"WORKERS": "2"}
    with socket.create_server(("127.0.0.1", 0)) as taken, ExitStack() as running:
        port = str(taken.getsockname()[1])
        expected: list[tuple[dict[str, str], str]] = [
            ({"JWT_SECRET": SECRET}, "error: DATABASE_URL is missing"),
            ({"DATABASE_URL": url}, "error: set JWT_SECRET, JWKS_URL, JWKS_FILE, JWT_DISCOVERY_URL or JWT_ISSUERS"),
            ({"DATABASE_URL": "mysql://hunter2@x/y", "JWT_SECRET": SECRET}, "error: DATABASE_URL is for mysql"),
            (
                {"DATABASE_URL": "mysql://hunter2@x/y", "JWT_SECRET": SECRET} | workers,
                "error: DATABASE_URL is for mysql",
            ),
            ({"DATABASE_URL": url, "JWKS_FILE": "/none/hunter2"} | workers, "error: JWKS_FILE"),
            ({"DATABASE_URL": url, "JWT_SECRET": SECRET, "PORT": port}, "address already in use"),
            ({"DATABASE_URL": url, "JWT_SECRET": SECRET, "PORT": port} | workers, "address already in use"),
        ]
        started = [running.enter_context(start(**environment)) for environment, _ in expected]
        for process, (_, said) in zip(started, expected, strict=True):
            printed, _ = process.communicate(timeout=20)
            assert said.lower() in printed.lower()
            assert "Traceback" not in printed
            assert "hunter2" not in printed
            assert process.returncode not in (0, None)
