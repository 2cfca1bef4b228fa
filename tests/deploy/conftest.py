"""Real instances of the service, and nginx or HAProxy in front of them with the files of deploy/."""

import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from service.settings import read_settings
from tests.deploy import configs
from tests.ports import free_port
from tests.service_process import start_service
from tests.serving import SECRET, until

os.environ["PATH"] += ":/usr/sbin"  # the folder of nginx and HAProxy on Debian, which is only in root's PATH


class Instance:
    """One instance of the service. It has the same port when it is started again."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        values = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET, "LOG_LEVEL": "warning"}
        ports = {"PORT": str(self.port), "METRICS_PORT": str(self.metrics_port)}
        self._environment = {**values, **ports, **settings}
        self.settings = read_settings(self._environment)

    def start(self) -> None:
        """Start the process, and return when the instance is ready."""
        self.process = start_service(self._environment)
        until(lambda: self.process.poll() is not None or self.status("/readyz") == 200, 30)
        assert self.process.poll() is None

    def status(self, path: str) -> int:
        """The status of the response, or 0 when there is none."""
        try:
            return httpx.get(self.address + path, timeout=5).status_code
        except httpx.TransportError:
            return 0

    def answered(self) -> int:
        """The number of requests for tasks that the instance has answered."""
        lines = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text.splitlines()
        counts = (line for line in lines if line.startswith("task_service_request_seconds_count"))
        return sum(int(float(line.rpartition(" ")[2])) for line in counts if "_task" in line.partition(" ")[0])

    def connections(self) -> int:
        """The number of open connections of clients to the instance."""
        return sum(
            connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == self.port
            for connection in psutil.Process(self.process.pid).net_connections()
        )

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop the process gracefully. Returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


Instances = tuple[Instance, Instance]


@contextmanager
def running(*instances: Instance) -> Iterator[None]:
    """Start the instances, which are ready inside the block, and kill them at its end."""
    with ExitStack() as stack:
        for instance in instances:
            instance.start()
            stack.callback(instance.kill)
        yield


@pytest.fixture
def instances(database: str) -> Iterator[Instances]:
    """Two ready instances on one database."""
    both = (Instance(database), Instance(database))
    with running(*both):
        yield both


Proxied = Callable[..., httpx.Client]


@pytest.fixture(params=["nginx", "haproxy"])
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxied]:
    """Starts nginx or HAProxy in front of the instances given. Returns a client of it."""
    with ExitStack() as stack:

        def start(instances: Instances, **rates: str) -> httpx.Client:
            return stack.enter_context(proxying(request.param, tmp_path, instances, rates.get(request.param)))

        yield start


@contextmanager
def proxying(name: str, folder: Path, instances: Instances, rate: str | None = None) -> Iterator[httpx.Client]:
    """Run the proxy in front of the instances. Yields a client of it. Without `rate`, the rate limit is not reached."""
    if not shutil.which(name):
        pytest.exit(f"{name} is not found. On Debian: apt-get install {name}", 1)
    authority = configs.certificate(folder)
    https, http = free_port(), free_port()
    places = {f"{ip}:4000": f"127.0.0.1:{one.port}" for ip, one in zip(configs.INSTANCES, instances, strict=True)}
    if name == "nginx":
        ports = {"listen 443 ": f"listen 127.0.0.1:{https} ", "listen 80;": f"listen 127.0.0.1:{http};"}
        command = configs.nginx(folder, {**places, **ports, "rate=100r/s": rate or "rate=100000r/s"})
    else:
        ports = {"bind :443 ": f"bind 127.0.0.1:{https} ", "bind :80": f"bind 127.0.0.1:{http}"}
        command = configs.haproxy(folder, {**places, **ports, "gt 1000 }": rate or "gt 1000000 }"})
    context = ssl.create_default_context(cafile=str(authority))
    with (
        process_of(command, folder) as process,
        httpx.Client(base_url=f"https://127.0.0.1:{https}", verify=context, timeout=20) as client,
    ):
        until(lambda: process.poll() is not None or reachable(client, "/health"), 30)
        assert process.poll() is None, (folder / "output").read_text()
        yield client


@contextmanager
def process_of(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the folder, and terminate it at the end. Its output is in the file `output` there."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def reachable(client: httpx.Client, path: str) -> bool:
    """Whether a GET request for the path gets the status 200."""
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False
