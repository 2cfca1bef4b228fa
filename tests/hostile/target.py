"""The service in a separate process, with two users, one of them hostile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
import psutil

from tests.ports import free_port, listens
from tests.service_process import start_service
from tests.serving import until
from tests.tokens import ADA, Signer, claims, credentials
from tests.wire import Address, Answer, Wire, request

EVE = "e0e0e0e0-0000-4000-8000-00000000000e"
FILES = 200
"""The soft limit of open files when the process starts."""

NOBODY = "00000000-0000-4000-8000-000000000000"


class Target:
    """The service at `address`, where Ada has two tasks, and Eve, the attacker, has one."""

    def __init__(
        self, address: Address, memory: Callable[[], int], errors: Callable[[], str], signer: Signer, **named: str
    ) -> None:
        self.address = address
        self.memory = memory
        """The resident memory of the service, in bytes."""
        self.errors = errors
        """The lines of its log, without refused /readyz requests."""
        self.signer = signer
        self.named = {name: f'"{value}"' for name, value in named.items()}
        until(lambda: listens(self.address[1]) and self.ask(request("GET", "/readyz")).status == 200)
        self.tasks = f"/api/{EVE}/tasks"
        self.task = self._task(EVE)
        self.adas_task = self._task(ADA)
        self.adas_task_id = self.adas_task.rpartition("/")[2]
        self._task(ADA)
        page = self.ask(self.authorized("GET", f"/api/{ADA}/tasks?limit=1", user=ADA))
        self.adas_cursor = page.headers["link"].partition("cursor=")[2].partition(">")[0]
        self.state_at_start = self.state()

    def ask(self, sent: bytes, method: str = "GET") -> Answer:
        """The first response to `sent`, on a new connection."""
        with Wire(self.address) as wire:
            return wire.send(sent).answer(method)

    def claims(self, **changes: str | None) -> str:
        """The claims of a valid token of Eve, with `changes`."""
        return claims(**{"sub": f'"{EVE}"', **self.named, **changes})

    def authorization(self, user: str) -> str:
        """The Authorization header with a valid token of the user."""
        return credentials(self.signer, payload=self.claims(sub=f'"{user}"')).decode()

    def authorized(self, method: str, path: str, *headers: str, user: str = EVE, body: bytes = b"") -> bytes:
        """A request with a valid token of the user."""
        return request(method, path, f"Authorization: {self.authorization(user)}", *headers, body=body)

    def state(self) -> dict[str, Any]:
        """The logged errors, Ada's tasks, and the queued requests once no database connection is in use."""
        tasks = self.ask(self.authorized("GET", f"/api/{ADA}/tasks", user=ADA)).body
        pool: dict[str, int] = {}

        def at_rest() -> bool:
            pool.update(msgspec.json.decode(self.ask(request("GET", "/readyz")).body)["pool"])
            return pool["idle"] == pool["open"]

        until(at_rest)
        return {"errors": self.errors(), "waiting": pool["waiting"], "tasks": tasks}

    def _task(self, user: str) -> str:
        made = self.ask(self.authorized("POST", f"/api/{user}/tasks", user=user, body=b'{"title": "there"}'))
        assert made.status == 201
        return made.headers["location"]


@contextmanager
def target(signer: Signer, named: dict[str, str], **environment: str) -> Iterator[Target]:
    """Start the service as in production. `named` are the `iss` and `aud` of its tokens."""
    address = ("127.0.0.1", free_port())
    given = {"PORT": str(address[1]), "SHUTDOWN_DELAY": "0", "LOG_LEVEL": "error"} | environment
    few_files = ("sh", "-c", f'ulimit -Sn {FILES}; exec "$@"', "sh")
    with NamedTemporaryFile() as log, start_service(given, *few_files, stdout=log) as process:
        try:
            memory = psutil.Process(process.pid).memory_info

            def errors() -> str:
                lines = Path(log.name).read_text().splitlines()
                # the first probes of /readyz are refused, because the service is not ready yet
                return "\n".join(line for line in lines if '"operation":"readyz"' not in line)

            yield Target(address, lambda: memory().rss, errors, signer, **named)
        finally:
            process.terminate()
