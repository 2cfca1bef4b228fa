"""The metrics, scraped over HTTP after known requests, and their ports."""

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.settings import SettingsError, read_settings
from service.version import VERSION, commit
from tests.database import locked
from tests.ports import free_port, listens
from tests.service_process import start_service
from tests.serving import SECRET, Api, http_client, serving, until
from tests.wire import Wire

Figures = dict[tuple[str, ...], float]
"""The value of each series. A key is the name of the series and the values of its labels, sorted by label name."""

Rows = Callable[..., list[Any]]

NOWHERE = "postgresql://127.0.0.1:1/none"


class Measured:
    """The application with metrics."""

    def __init__(self, api: Api, port: int) -> None:
        self.api = api
        self.port = port

    def figures(self) -> Figures:
        return scrape(self.port)

    def value(self, *series: str) -> float:
        """The value of the series, or 0 if it does not exist yet."""
        return self.figures().get(series, 0)


def scrape(port: int) -> Figures:
    with http_client() as client:
        answer = client.get(f"http://127.0.0.1:{port}/metrics")
    samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in samples}


@contextmanager
def measured(**settings: Any) -> Iterator[Measured]:
    port = free_port(1)
    with serving(metrics_port=port, **settings) as api:
        until(lambda: listens(port))
        yield Measured(api, port)


@pytest.fixture
def service(database: str) -> Iterator[Measured]:
    with measured(database_url=database) as running:
        yield running


def test_metrics_count_requests_by_operation_and_status(service: Measured) -> None:
    ada = service.api.caller()

    task = ada.create(title="x").json()["id"]
    ada.create(title="")
    ada.list()
    ada.get(task)
    ada.get(task)
    ada.get(str(uuid4()))
    ada.update(task, title="y")
    ada.complete(task)
    ada.delete(task)
    for path in (ada.tasks, "/livez", "/nowhere"):
        service.api.anonymous.get(path)

    name = "task_service_request_seconds_count"
    assert {key[1:]: value for key, value in service.figures().items() if key[0] == name} == {
        ("create_task", "201"): 1,
        ("create_task", "422"): 1,
        ("list_tasks", "200"): 1,
        ("list_tasks", "401"): 1,
        ("get_task", "200"): 2,
        ("get_task", "404"): 1,
        ("update_task", "200"): 1,
        ("complete_task", "200"): 1,
        ("delete_task", "204"): 1,
        ("livez", "200"): 1,
        ("unrouted", "404"): 1,
    }


def test_metrics_hold_each_duration_in_all_buckets_that_it_fits_in(service: Measured, rows: Rows) -> None:
    ada = service.api.caller()
    task = ada.create(title="x").json()["id"]
    rows("create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(.3); return new; end $$")
    rows("create trigger wait before update on tasks for each row execute function wait()")

    ada.complete(task)

    figures, name = service.figures(), "task_service_request_seconds"
    counts = [figures[f"{name}_bucket", bound, "complete_task", "200"] for bound in ("0.1", "0.25", "5.0", "+Inf")]
    assert counts == [0, 0, 1, 1]
    assert figures[f"{name}_sum", "complete_task", "200"] >= 0.3


def test_metrics_count_verified_and_cached_tokens(service: Measured) -> None:
    for caller in (service.api.caller(), service.api.caller()):
        caller.list()
        caller.list()
    service.api.anonymous.get(f"/api/{uuid4()}/tasks", headers={"Authorization": "Bearer none"})

    assert service.value("task_service_token_cache_misses_total") == 3
    assert service.value("task_service_cached_tokens") == 2


def test_metrics_show_connections_and_waiting_requests(database: str) -> None:
    bounds = {"pool_min_size": 1, "pool_max_size": 1, "acquire_timeout": 1, "max_waiting": 1, "statement_timeout": 30}
    with measured(database_url=database, **bounds) as service, ThreadPoolExecutor(3) as crowd:
        ada = service.api.caller()
        ada.create(title="x")
        until(lambda: service.value("task_service_database_connections", "idle") == 1)  # otherwise a probe uses it
        with locked(database, "access exclusive"):
            first = crowd.submit(ada.create, title="y")
            until(lambda: service.value("task_service_database_connections", "busy") == 1)
            second = crowd.submit(ada.create, title="z")
            until(lambda: service.value("task_service_waiting_requests") == 1)
            assert ada.create(title="too many").status_code == 503
            assert second.result().status_code == 503
        assert first.result().status_code == 201

        assert service.value("task_service_shed_requests_total") == 1
        assert service.value("task_service_acquire_timeouts_total") == 1
        assert service.value("task_service_waiting_requests") == 0


def test_metrics_count_errors_of_the_database_by_class(database: str, rows: Rows) -> None:
    name = "task_service_database_errors_total"
    with measured(database_url=database, statement_timeout=0.2) as service:
        ada = service.api.caller()
        ada.create(title="x")
        assert service.value(name, "23") == 1  # the user's row did not exist
        with locked(database, "access exclusive"):
            assert ada.create(title="y").status_code == 503
        assert service.value(name, "57") == 1
        rows("alter table tasks rename to things")
        assert ada.create(title="z").status_code == 503
        assert service.value(name, "42") >= 1  # readiness then runs statements itself


def test_metrics_count_connections_that_cannot_be_made() -> None:
    with measured(database_url=NOWHERE) as service:
        until(lambda: service.value("task_service_database_errors_total", "08"))


def test_metrics_count_requests_that_the_edge_refuses(service: Measured) -> None:
    with Wire(service.api.address) as wire:
        assert wire.send(b"no request\r\n\r\n").answer().status == 400

    assert service.value("task_service_refused_connections_total", "400") == 1


def test_metrics_count_log_lines_that_were_dropped(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("service.observability.log.STDOUT", writer)
    with measured(database_url=database) as service:
        logging.getLogger("service").error("nobody reads this line")

        until(lambda: service.value("task_service_dropped_log_lines_total") == 1)
    os.close(writer)


def test_metrics_show_the_release_and_the_size_of_the_pool(service: Measured) -> None:
    assert service.value("task_service_build_info", commit(), VERSION) == 1
    assert service.value("task_service_database_connections_max") == service.api.settings.pool_max_size


def test_metrics_show_the_time_that_each_operation_spends_with_the_database(service: Measured) -> None:
    ada = service.api.caller()
    ada.create(title="x")
    ada.create(title="")

    figures = service.figures()
    spent = figures["task_service_request_database_seconds_total", "create_task"]
    total = sum(figures["task_service_request_seconds_sum", "create_task", status] for status in ("201", "422"))
    assert 0 < spent < total


def test_metrics_count_batches_and_their_reads(service: Measured, database: str) -> None:
    ada = service.api.caller()
    task = ada.create(title="x").json()["id"]
    with ThreadPoolExecutor(10) as clients:
        with locked(database, "access exclusive"):
            waiting = [clients.submit(ada.get, task) for _ in range(10)]
            until(lambda: service.value("task_service_waiting_requests") >= 5)
        assert {call.result().status_code for call in waiting} == {200}

    batches, reads = service.value("task_service_read_batches_total"), service.value("task_service_batched_reads_total")
    assert 0 < batches < reads <= 10


def test_metrics_count_requests_that_failed_for_a_cause_in_the_database(service: Measured, rows: Rows) -> None:
    rows("alter table tasks rename to things")
    assert service.api.caller().create(title="x").status_code == 503

    assert service.value("task_service_unavailable_total", "42P01") == 1


def test_metrics_show_the_memory_of_the_process(service: Measured) -> None:
    assert service.value("process_resident_memory_bytes") > 1e6


def test_metrics_are_not_on_the_public_port(service: Measured) -> None:
    assert service.api.anonymous.get("/metrics").status_code == 404


def test_metrics_have_a_port_for_each_worker_and_its_replacement(database: str) -> None:
    public, first = free_port(1), free_port(2)
    environment = {
        "DATABASE_URL": database,
        "JWT_SECRET": SECRET,
        "PORT": str(public),
        "METRICS_PORT": str(first),
        "WORKERS": "2",
        "SHUTDOWN_DELAY": "0",
    }
    with start_service(environment, stdout=subprocess.PIPE, text=True) as service:
        try:
            until(lambda: len(owners(service.pid, first)) == 2)
            before = owners(service.pid, first)
            assert scrape(first)["process_resident_memory_bytes",] > 1e6
            service.send_signal(signal.SIGHUP)
            until(lambda: len(owners(service.pid, first) - before) == 2)
        finally:
            service.terminate()
            printed = service.communicate()[0]
    assert service.returncode == 0
    assert "no metrics" not in printed


def test_metrics_without_a_free_port_are_a_warning(database: str, printed: Path) -> None:
    port = free_port(1)
    with (
        socket.create_server(("127.0.0.1", port)),
        serving(database_url=database, metrics_port=port, log_level="warning"),
    ):
        until(lambda: "no metrics: free one of the WORKERS ports" in printed.read_text())


@pytest.mark.parametrize(("first", "workers"), [("4000", "1"), ("3999", "2"), ("65535", "2")])
def test_metrics_port_too_close_to_another_is_refused(first: str, workers: str) -> None:
    values = {"DATABASE_URL": NOWHERE, "JWT_SECRET": SECRET, "METRICS_PORT": first, "WORKERS": workers}
    with pytest.raises(SettingsError, match="METRICS_PORT"):
        read_settings(values)


def owners(supervisor: int, first: int) -> set[int]:
    """The pids of the workers that listen on the port or on the next one."""
    found = set()
    with suppress(psutil.NoSuchProcess):  # it has just ended
        for child in psutil.Process(supervisor).children():
            if any(c.laddr.port in (first, first + 1) for c in child.net_connections() if c.status == "LISTEN"):
                found.add(child.pid)
    return found
