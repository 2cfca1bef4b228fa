"""The service of a scenario: a separate process, as in production."""

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import psutil

from service.settings import read_settings
from tests.faults.client import Caller, TimedAnswer
from tests.ports import free_port
from tests.service_process import start_service, workers_of

DEFAULTS = {
    "JWT_SECRET": "the secret of the fault scenarios",
    "LOG_LEVEL": "warning",
    "ACQUIRE_TIMEOUT": "0.5",  # these three are shorter than the defaults, so that the scenarios take less time
    "STATEMENT_TIMEOUT": "1",
    "SHUTDOWN_DELAY": "1",
}

PATIENCE = 15
"""Seconds that the service may take to start or stop."""


class ServiceProcess:
    """`python -m service serve` with `settings` in its environment. Its output goes to the file `log`."""

    def __init__(self, log: Path, **settings: str) -> None:
        self.log = log
        self.port = free_port()
        self.stopping = False
        self.callers: list[Caller] = []
        self._environment = {"PORT": str(self.port), **DEFAULTS, **settings}
        self.settings = read_settings(self._environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._first_workers: set[int] = set()

    async def start(self) -> None:
        """Return when the service responds. Raises TimeoutError, or RuntimeError when the process ends."""
        with self.log.open("wb") as log:
            self._process = start_service(self._environment, stdout=log, stderr=log, start_new_session=True)
        async with asyncio.timeout(PATIENCE):
            while len(self.workers()) < self.settings.workers or (await self.get("/livez")).status != 200:
                if self._process.poll() is not None:
                    raise RuntimeError(f"the service did not start: {self.log.read_text().strip().splitlines()[-1:]}")
                await asyncio.sleep(0.02)
        self._first_workers = set(self.workers())

    async def get(self, path: str) -> TimedAnswer:
        """The response on a new connection."""
        caller = Caller(self.settings, self.port, uuid4())
        answer = await caller.call(path, "GET", path)
        caller.close()
        return answer

    def caller(self, user_id: UUID | None = None) -> Caller:
        """A user whose responses the checker judges: a new user without `user_id`."""
        self.callers.append(Caller(self.settings, self.port, user_id or uuid4()))
        return self.callers[-1]

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        if not self._process or self._process.poll() is not None:
            return []
        if self.settings.workers == 1:
            return [self._process.pid]
        return [worker.pid for worker in workers_of(self._process.pid)]

    @property
    def restarts(self) -> int:
        """How many of the first workers have ended without a SIGTERM."""
        return 0 if self.stopping else len(self._first_workers.difference(self.workers()))

    def errors(self) -> list[str]:
        """The errors in its log: message, type and last frame."""
        lines = (msgspec.json.decode(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{"))
        logged = (line for line in lines if line["level"] == "error")
        return sorted({f"{line['message']} {line.get('error')} {line.get('frames', [''])[-1]}" for line in logged})

    def memory(self) -> float:
        """Resident memory of the workers, in MB."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.workers()) / 1e6

    def terminate(self) -> None:
        """Send SIGTERM, as a deployment does."""
        self.stopping = True
        if self._process:
            self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for the end of the process. Returns its exit status. Raises subprocess.TimeoutExpired."""
        return await asyncio.to_thread(self._process.wait, PATIENCE) if self._process else 0

    async def close(self) -> None:
        """Kill the service and its workers."""
        for caller in self.callers:
            caller.close()
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self.ended()
