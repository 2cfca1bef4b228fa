"""Log lines: one JSON object each, on standard output. Never a token, a title, an argument of a statement or a DSN."""

import logging
import os
import re
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from threading import Event, Thread
from typing import Any

import msgspec

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
"""A caller's X-Request-ID that may be logged and sent back."""

STDOUT = 1

FLUSH_SECONDS = 0.05
"""Lines are written together after so long: a write call each would cost more than the line."""

CAPACITY = 10_000
"""Lines that may wait to be written, a few megabytes. What comes while so many wait is dropped."""

STOP_SECONDS = 1.0
"""The longest that a stop waits for the last lines to be written."""

TICK = 0.005
"""Seconds between two looks at whether they have been."""

Line = msgspec.Raw | dict[str, Any]

_encoder = msgspec.json.Encoder()
_prefix = token_hex(4).encode()
_numbers = count(1)


def accept_request_id(given: bytes | None) -> bytes:
    """The caller's own request id if it is sane, else a new one."""
    if given is not None and SANE_ID(given):
        return given
    return b"%b-%x" % (_prefix, next(_numbers))


class JSONFormatter(logging.Formatter):
    """A log record as a line. A traceback is kept: its frames and the error's type, not its message or values."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["sqlstate"] = getattr(error, "sqlstate", None)
            line["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        return _encoder.encode(line).decode()


class Output(logging.Handler):
    """Standard output, which a thread writes to: a reader who stalls makes it lose lines, and holds up nothing else.

    `dropped` is how many lines were lost.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[Line] = deque()  # until they are written
        self._some = Event()  # there are lines; else the thread sleeps, for each time it wakes it stops the others
        self._hurry = Event()
        self._closed = False
        self._patience = STOP_SECONDS
        Thread(target=self._keep_writing, name="log", daemon=True).start()

    def put(self, line: Line) -> None:
        """Has a line written soon, if there is room for it."""
        if len(self._lines) < CAPACITY:
            self._lines.append(line)
        else:
            self.dropped += 1
        if not self._some.is_set():
            self._some.set()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.put(msgspec.Raw(self.format(record).encode()))
            self._hurry.set()  # it may tell of the process's end
        except Exception:  # as logging's own handlers do: what a record tells of goes on
            self.handleError(record)

    def flush(self) -> None:
        """Waits for the lines to be written, for STOP_SECONDS in all. logging does so too when the process ends."""
        while self._lines and self._patience > 0:
            self._hurry.set()
            time.sleep(TICK)
            self._patience -= TICK

    def close(self) -> None:
        self._closed = True
        self._some.set()
        self._hurry.set()
        super().close()

    def _keep_writing(self) -> None:
        told, closed = 0, False
        while not closed:
            self._some.wait()
            self._hurry.wait(FLUSH_SECONDS)
            self._hurry.clear()
            self._some.clear()
            closed, lines = self._closed, list(self._lines)
            data = _encoder.encode_lines(lines)
            if lost := self.dropped - told:
                message = f"{lost} log lines were dropped: standard output was not read"
                note = {"time": datetime.now(UTC), "level": "warning", "logger": __name__, "message": message}
                data += _encoder.encode_lines([note])
            try:
                while data:  # not through sys.stdout, whose lock would then be held when the process ends
                    data = data[os.write(self._descriptor, data) :]
                told += lost
            except OSError:  # there is no reader any more
                self.dropped += len(lines)
                self._some.set()  # to tell the next one, as soon as there is one
            for _ in lines:
                self._lines.popleft()


class RequestLog:
    """One line for each request: method, operation, status, milliseconds, request id."""

    def __init__(self, level: str, output: Output) -> None:
        self._least = {"debug": 100, "info": 100, "warning": 500, "error": 500}[level]
        self._output = output

    def write(self, method: str, operation: str, status: int, seconds: float, request_id: bytes) -> None:
        if status < self._least:
            return
        self._output.put(
            {
                "time": datetime.now(UTC),
                "level": "info" if status < 500 else "warning",
                "method": method,
                "operation": operation,
                "status": status,
                "ms": round(seconds * 1000, 2),
                "request_id": request_id.decode(),
            }
        )


def configure_logging(level: str) -> Output:
    """All of this process's log records as JSON lines on standard output, from `level` on."""
    output = Output(STDOUT)
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    return output
