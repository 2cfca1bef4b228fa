"""A real Prometheus with the files of deploy/, which scrapes two real instances while they serve requests."""

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.database import TERMINATE
from tests.deploy import configs
from tests.deploy.conftest import Instance, Instances, process_of, reachable
from tests.ports import free_port
from tests.serving import Caller, until

DASHBOARD = json.loads((configs.DEPLOY / "grafana" / "task-service.json").read_text())
QUERIES = [
    (panel["title"], target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*"))
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]


APPEAR_WITH_THEIR_FIRST_EVENT = {"task_service_refused_connections_total", "task_service_database_errors_total"}


@pytest.fixture
def prometheus(instances: Instances, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a Prometheus that scrapes both instances each second."""
    if not shutil.which("prometheus"):
        pytest.exit("prometheus is not found. On Debian: apt-get install prometheus", 1)
    rules = configs.DEPLOY / "prometheus" / "task-service.rules.yml"
    places = {
        f"{ip}:9000": f"127.0.0.1:{one.metrics_port}" for ip, one in zip(configs.INSTANCES, instances, strict=True)
    }
    config = (configs.DEPLOY / "prometheus" / "prometheus.yml").read_text()
    changes = {"_interval: 15s": "_interval: 1s", "task-service.rules.yml": str(rules)}
    (tmp_path / "prometheus.yml").write_text(configs.replaced(config, places | changes))
    port = free_port()
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}")
    with (
        process_of(["prometheus", *options], tmp_path) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client,
    ):
        until(lambda: process.poll() is not None or reachable(client, "/status/runtimeinfo"), 30)
        assert process.poll() is None, (tmp_path / "output").read_text()
        yield client


def test_every_query_of_the_dashboard_has_a_result(
    instances: Instances, prometheus: httpx.Client, rows: Callable[..., list[Any]]
) -> None:
    found: dict[tuple[str, str], int] = {}

    def all_found() -> bool:
        for instance in instances:
            send_each_kind_of_request(instance)
        rows("alter table tasks rename to away")
        for instance in instances:
            with httpx.Client(base_url=instance.address, timeout=10) as client:
                assert Caller(client, instance.settings, uuid4()).list().status_code == 503
        rows("alter table away rename to tasks")
        rows(TERMINATE)
        for title, query in QUERIES:
            answer = prometheus.get("/query", params={"query": query}).json()
            assert answer["status"] == "success", answer
            found[title, query] = len([one for one in answer["data"]["result"] if one["value"][1] != "NaN"])
        return all(found.values())

    try:
        until(all_found, 60)
    finally:
        for (title, query), series in found.items():
            print(f"{title:<34}{series} series  {query}")


def send_each_kind_of_request(instance: Instance) -> None:
    """Send requests for tasks, a probe, and data that is not HTTP."""
    with httpx.Client(base_url=instance.address, timeout=10) as client:
        ada = Caller(client, instance.settings, uuid4())
        task_id = ada.create(title="Buy milk").json().get("id", str(uuid4()))
        for answer in (ada.get(task_id), ada.update(task_id, title="Buy tea"), ada.complete(task_id), ada.list()):
            assert answer.status_code in (200, 404, 503)  # 503: the sessions were just ended
        client.get("/readyz")
    with socket.create_connection(("127.0.0.1", instance.port)) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        connection.recv(1024)


def test_rules_are_evaluated_on_figures_that_the_service_has(instances: Instances, prometheus: httpx.Client) -> None:
    def rules() -> dict[str, Any]:
        groups = prometheus.get("/rules").json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def up() -> bool:
        result = prometheus.get("/query", params={"query": "sum(up)"}).json()["data"]["result"]
        return bool(result) and result[0]["value"][1] == "2"

    until(up, 30)
    # the first evaluations may precede the first scrapes
    until(lambda: all((rule["health"], rule["state"]) == ("ok", "inactive") for rule in rules().values()), 30)
    names = prometheus.get("/label/__name__/values").json()["data"]
    used = re.findall(r"\b(?:task_service|process)_\w+", " ".join(rule["query"] for rule in rules().values()))

    assert set(used) - set(names) <= APPEAR_WITH_THEIR_FIRST_EVENT

    instances[1].kill()
    until(lambda: rules()["TaskServiceDown"]["state"] == "pending", 30)
