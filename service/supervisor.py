"""Starts several worker processes on the same listening sockets, replaces workers that end, and stops them.

uvicorn's own supervisor keeps the listening socket open until the last worker has ended, so that new connections hang.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

logger = logging.getLogger(__name__)

STARTUP_FAILURE = 3
"""The exit status of a process whose application cannot start, as in uvicorn."""

RESTART_SECONDS = 1.0
"""The shortest time between two starts of a worker: a worker that ends at once must not use a whole core."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


context = get_context("spawn")


class Worker:
    """A process that runs `target(*arguments, on_started)`. `started` is readable once it serves or has ended."""

    def __init__(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.started, child_end = context.Pipe(duplex=False)
        self.process: SpawnProcess = context.Process(target=_run, args=(target, arguments, child_end))
        self.process.start()
        child_end.close()
        self.started_at = time.monotonic()

    def serves(self) -> bool:
        """Wait until the worker serves or has ended. Return whether it serves."""
        try:
            self.started.recv()
        except EOFError:
            return False
        return True


class Supervisor:
    """Runs `number` workers. SIGTERM and SIGINT stop them; SIGHUP replaces them one after another.

    A worker runs `target(settings, sockets, is_full_stop, on_started)`. `is_full_stop()` is true when all workers stop.
    """

    def __init__(self, number: int, target: Callable[..., None], settings: Any, sockets: list[socket.socket]) -> None:
        self._number = number
        self._target = target
        self._full_stop = context.Event()
        self._arguments = (settings, sockets, self._full_stop.is_set)
        self._sockets = sockets
        self._workers: list[Worker] = []
        self._outdated: list[Worker] = []  # to be replaced
        self._replacement: Worker | None = None  # until it serves
        self._stopping: list[Worker] = []  # replaced; they may still have requests in progress

    def run(self) -> int:
        """Run the workers until a signal. Return the exit status of the process."""
        received, sent = os.pipe()
        os.set_blocking(sent, False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)  # set_wakeup_fd writes the number to the pipe
        signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
        self._workers = [self._start() for _ in range(self._number)]
        while True:
            watched: list[Any] = [received, *(each.process.sentinel for each in (*self._workers, *self._stopping))]
            ready = wait([*watched, self._replacement.started] if self._replacement else watched)
            numbers = os.read(received, 100) if received in ready else b""
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                return self._stop()
            if any(worker.process.exitcode == STARTUP_FAILURE for worker in self._workers):
                self._stop()
                return STARTUP_FAILURE
            self._stopping = [worker for worker in self._stopping if worker.process.exitcode is None]
            self._replace_ended()
            if signal.SIGHUP in numbers:
                self._outdated = list(self._workers)
            self._replace_outdated()

    def _start(self) -> Worker:
        return Worker(self._target, self._arguments)

    def _replace_ended(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.process.exitcode is None:
                continue
            logger.warning("worker %s ended with status %s", worker.process.pid, worker.process.exitcode)
            time.sleep(max(0.0, worker.started_at + RESTART_SECONDS - time.monotonic()))
            self._workers[place] = self._start()
            if worker in self._outdated:
                self._outdated.remove(worker)

    def _replace_outdated(self) -> None:
        """Stop an outdated worker when its replacement serves, and start the next replacement."""
        replacement = self._replacement
        if replacement and replacement.started.poll():
            self._replacement = None
            if not replacement.serves():
                logger.error("worker %s cannot start: the other workers are not replaced", replacement.process.pid)
                self._outdated = []
            elif self._outdated:
                outdated = self._outdated.pop(0)
                self._workers[self._workers.index(outdated)] = replacement
                self._stopping.append(outdated)
                outdated.process.terminate()
            else:  # the outdated worker has ended meanwhile, and _replace_ended has started another
                self._stopping.append(replacement)
                replacement.process.terminate()
        if self._outdated and not self._replacement:
            self._replacement = self._start()

    def _stop(self) -> int:
        for sock in self._sockets:
            sock.close()  # else the kernel would accept connections that no worker answers
        self._full_stop.set()
        stopping = [*self._workers, *([self._replacement] if self._replacement else [])]
        for worker in stopping:
            worker.process.terminate()
        for worker in (*stopping, *self._stopping):
            worker.process.join()
        return 0


def _run(target: Callable[..., None], arguments: tuple[Any, ...], started: Connection) -> None:
    target(*arguments, lambda: started.send(None))
