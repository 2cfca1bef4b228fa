"""The service in a separate process, with two users, one of them hostile."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
import psutil

from service.settings import ROOT
from tests.ports import free_port, listens
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
        """Its resident set, in bytes."""
        self.errors = errors
        """The lines that it has logged, without refused /readyz requests."""
        self.signer = signer
        self.named = {name: f'"{value}"' for name, value in named.items()}
        until(lambda: self.answers() and self.ask(request("GET", "/readyz")).status == 200)
        self.tasks = f"/api/{EVE}/tasks"
        self.task = self._task(EVE)
        self.adas_task = self._task(ADA)
        self.adas_task_id = self.adas_task.rpartition("/")[2]
        self._task(ADA)
        page = self.ask(self.authorized("GET", f"/api/{ADA}/tasks?limit=1", user=ADA))
        self.adas_cursor = page.headers["link"].partition("cursor=")[2].partition(">")[0]
        self.state_at_start = self.state()

    def answers(self) -> bool:
        return listens(self.address[1])

    def ask(self, sent: bytes, method: str = "GET") -> Answer:
        """The first response to `sent`, on a new connection."""
        with Wire(self.address) as wire:
            return wire.send(sent).answer(method)

    def claims(self, **changes: str | None) -> str:
        """The claims of a valid token of Eve's, with `changes`."""
        return claims(**{"sub": f'"{EVE}"', **self.named, **changes})

    def authorization(self, user: str) -> str:
        """The Authorization header with a valid token of the user's."""
        return credentials(self.signer, payload=self.claims(sub=f'"{user}"')).decode()

    def authorized(self, method: str, path: str, *fields: str, user: str = EVE, body: bytes = b"") -> bytes:
        """A request with a valid token of the user's."""
        return request(method, path, f"Authorization: {self.authorization(user)}", *fields, body=body)

    def state(self) -> dict[str, Any]:
        """Ada's tasks, the waiting requests when no connection is in use, and the logged errors."""
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
    given = {"PATH": os.environ["PATH"], "PORT": str(address[1]), "SHUTDOWN_DELAY": "0", "LOG_LEVEL": "error"}
    few_files = ["sh", "-c", f'ulimit -Sn {FILES}; exec "$@"', "sh"]
    command = [*few_files, sys.executable, "-m", "service", "serve"]
    with (
        NamedTemporaryFile() as log,
        subprocess.Popen(command, cwd=ROOT, env=given | environment, stdout=log) as process,
    ):
        try:
            memory = psutil.Process(process.pid).memory_info

            def errors() -> str:
                lines = Path(log.name).read_text().splitlines()
                return "\n".join(line for line in lines if '"operation":"readyz"' not in line)  # it was asked too early

            yield Target(address, lambda: memory().rss, errors, signer, **named)
        finally:
            process.terminate()
