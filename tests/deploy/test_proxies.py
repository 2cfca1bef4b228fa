"""nginx and HAProxy with the files of deploy/, in front of two real instances of the service."""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.deploy.configs import replaced
from tests.deploy.conftest import Instance, Instances, Proxied, proxying, running
from tests.serving import Caller, until

PROBLEM = "application/problem+json"

SUCCESS = {200, 201, 204}

USERS = 4
"""The number of users in the traffic. Each sends one request at a time."""


def caller(client: httpx.Client, instances: Instances) -> Caller:
    return Caller(client, instances[0].settings, uuid4())


def test_entity_tags_pass_unchanged(instances: Instances, proxied: Proxied) -> None:
    ada = caller(proxied(instances), instances)
    made = ada.create(title="Buy milk")
    task = f"{ada.tasks}/{made.json()['id']}"

    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert ada.request("GET", task, headers={"Accept-Encoding": "gzip"}).headers["etag"] == '"1"'
    assert ada.request("GET", task, headers={"If-None-Match": '"1"'}).status_code == 304
    changed = ada.request("PUT", task, json={"title": "Buy oat milk"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert ada.request("PUT", task, json={"title": "Buy tea"}, headers={"If-Match": '"1"'}).status_code == 412


def test_lists_pass_as_the_service_compressed_them(instances: Instances, proxied: Proxied) -> None:
    client = proxied(instances)
    ada = caller(client, instances)
    for number in range(30):
        assert ada.create(title=f"Task {number}", description="of many words " * 10).status_code == 201
    headers = {"Authorization": f"Bearer {ada.token}", "Accept-Encoding": "gzip"}
    direct = httpx.get(instances[0].address + ada.tasks, headers=headers)

    listed = ada.request("GET", ada.tasks, headers={"Accept-Encoding": "gzip"})

    assert listed.headers["content-encoding"] == direct.headers["content-encoding"] == "gzip"
    assert listed.headers["etag"] == direct.headers["etag"]
    assert listed.json() == direct.json()
    assert ada.request("GET", ada.tasks, headers={"If-None-Match": listed.headers["etag"]}).status_code == 304


def test_long_list_comes_whole_and_in_pieces(instances: Instances, proxied: Proxied) -> None:
    ada = caller(proxied(instances), instances)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda n: ada.create(title=f"Task {n}").status_code, range(600))) == {201}

    listed = ada.request("GET", ada.tasks, headers={"Accept-Encoding": "identity"})

    assert listed.headers["transfer-encoding"] == "chunked"
    assert len(listed.json()) == 600


def test_connections_to_the_instances_are_kept(instances: Instances, proxied: Proxied) -> None:
    ada = caller(proxied(instances), instances)
    for _ in range(20):
        assert ada.list().status_code == 200

    assert 1 <= sum(instance.connections() for instance in instances) <= 4


@pytest.mark.parametrize(("name", "lost"), [("haproxy", 0), ("nginx", 2)])
def test_rolling_restart_under_traffic(name: str, lost: int, instances: Instances, tmp_path: Path) -> None:
    # nginx does not check /readyz: an instance may close a kept connection on which nginx has just sent a request
    with proxying(name, tmp_path, instances) as client, traffic(client, instances) as statuses:
        for instance in instances:
            until_more(statuses.total)
            assert instance.stop() == 0
            until_more(statuses.total)
            instance.start()
            until_more(instance.answered)

    assert sum(number for status, number in statuses.items() if status not in SUCCESS) <= lost, statuses


def test_haproxy_sends_nothing_to_an_instance_whose_readyz_refuses(database: str, tmp_path: Path) -> None:
    stopping, other = Instance(database, SHUTDOWN_DELAY="60"), Instance(database)
    with (
        running(stopping, other),
        proxying("haproxy", tmp_path, (stopping, other)) as client,
        traffic(client, (stopping, other)) as statuses,
    ):
        until_more(stopping.answered)
        stopping.process.send_signal(signal.SIGTERM)
        until(lambda: "DOWN" in haproxy_status(tmp_path, "instance1"))
        before = stopping.answered()
        until_more(statuses.total)

        assert stopping.answered() <= before + USERS  # requests in progress
        assert stopping.status("/livez") == 200
    assert statuses.keys() <= SUCCESS, statuses


def test_nginx_sends_nothing_to_an_instance_that_is_marked_down(instances: Instances, tmp_path: Path) -> None:
    down, other = instances
    with proxying("nginx", tmp_path, instances) as client:
        config, address = tmp_path / "task-service.conf", f"server 127.0.0.1:{down.port}"
        config.write_text(replaced(config.read_text(), {address: f"{address} down"}))
        os.kill(int((tmp_path / "nginx.pid").read_text()), signal.SIGHUP)
        ada = caller(client, instances)

        def answered_by_the_other() -> bool:
            before = down.answered()
            assert {ada.list().status_code for _ in range(20)} == {200}
            return down.answered() == before

        until(answered_by_the_other)
        before = other.answered()
        assert answered_by_the_other()
        assert other.answered() == before + 20


def until_more(count: Callable[[], int]) -> None:
    """Wait until the count has grown by 100."""
    enough = count() + 100
    until(lambda: count() >= enough, 30)


@contextmanager
def traffic(client: httpx.Client, instances: Instances) -> Iterator[Counter[int | str]]:
    """Run users that create, read, change and delete tasks. Yields the number of responses by status or error."""
    statuses: Counter[int | str] = Counter()
    stop = threading.Event()

    def call_operations() -> None:
        ada = caller(client, instances)
        while not stop.is_set():
            with failures(statuses):
                made = ada.create(title="Buy milk")
                statuses[made.status_code] += 1
                if made.status_code == 201:
                    task = made.json()["id"]
                    for answer in (ada.get(task), ada.update(task, title="Buy tea"), ada.list(), ada.delete(task)):
                        statuses[answer.status_code] += 1

    with ThreadPoolExecutor(USERS) as pool:
        users = [pool.submit(call_operations) for _ in range(USERS)]
        try:
            yield statuses
        finally:
            stop.set()
    for user in users:
        user.result()


@contextmanager
def failures(statuses: Counter[int | str]) -> Iterator[None]:
    """Count a connection that fails."""
    try:
        yield
    except httpx.TransportError as error:
        statuses[repr(error)] += 1


def haproxy_status(folder: Path, server: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(folder / "admin.sock"))
        admin.sendall(b"show stat\n")
        rows = [line.split(",") for line in admin.makefile().read().splitlines()]
    status = rows[0].index("status")
    return next(row[status] for row in rows if row[1:2] == [server])


def test_body_over_the_limit_is_the_services_413(instances: Instances, proxied: Proxied) -> None:
    client = proxied(instances)
    ada = caller(client, instances)
    headers = {"Authorization": f"Bearer {ada.token}"}
    limit = instances[0].settings.max_body_bytes
    largest = b'{"title": "x"}'.ljust(limit)
    direct = httpx.post(instances[0].address + ada.tasks, content=largest + b" ", headers=headers)

    assert client.post(ada.tasks, content=largest, headers=headers).status_code == 201
    for content in (largest + b" ", iter([largest, b" "])):
        refused = client.post(ada.tasks, content=content, headers=headers)
        assert refused.status_code == 413
        assert refused.headers["content-type"] == PROBLEM
        assert refused.json() == direct.json()


def test_too_many_requests_of_an_address_are_429(instances: Instances, proxied: Proxied) -> None:
    client = proxied(instances, nginx="rate=1r/m", haproxy="gt 250 }")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.get("/health"), range(300)))

    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    assert {answer.status_code for answer in refused} == {429}
    assert refused[0].json()["status"] == 429
    assert (refused[0].headers["content-type"], refused[0].headers["retry-after"]) == (PROBLEM, "1")


def test_probes_are_hidden(instances: Instances, proxied: Proxied) -> None:
    client = proxied(instances)

    assert client.get("/health").status_code == 200
    for path in ("/readyz", "/livez"):
        hidden = client.get(path)
        assert (hidden.status_code, hidden.headers["content-type"]) == (404, PROBLEM)
        assert hidden.json() == client.get("/nothing").json()


def test_no_instance_is_a_problem_document(instances: Instances, proxied: Proxied) -> None:
    client = proxied(instances)
    ada = caller(client, instances)
    for instance in instances:
        instance.kill()

    answer = ada.create(title="Buy milk")

    assert answer.status_code == answer.json()["status"] == 503
    assert (answer.headers["content-type"], answer.headers["retry-after"]) == (PROBLEM, "1")
