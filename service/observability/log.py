"""Writes the log to standard output, one JSON object a line.

No line holds a token, a title, an argument of a statement or DATABASE_URL.
"""

import logging
import os
import time
import traceback
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import msgspec

STDOUT = 1

FLUSH_SECONDS = 0.05
"""Lines are collected for this long and written by one call: a call for each line would cost more than the line."""

STOP_SECONDS = 1.0
"""The longest that flush() waits for a stalled reader."""

CAPACITY = 10_000
"""The most lines that wait to be written, a few megabytes. Further lines are dropped."""

Line = msgspec.Raw | dict[str, Any]

_encoder = msgspec.json.Encoder()


class JSONFormatter(logging.Formatter):
    """Formats a log record as JSON, with the members that `extra={"members": {...}}` adds.

    Of an exception it keeps the type, the SQLSTATE and the frames, but not the message: it may contain values.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "members", {}),
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["sqlstate"] = getattr(error, "sqlstate", None)
            line["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        return _encoder.encode(line).decode()


class Output(logging.Handler):
    """Writes lines to a file descriptor from a thread of its own, so that a stalled reader delays nothing else.

    At most `capacity` lines wait. `dropped` counts the lines that did not fit, and the lines that could not be written.
    """

    def __init__(self, descriptor: int, *, capacity: int = CAPACITY, flush_seconds: float = FLUSH_SECONDS) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self._descriptor = descriptor
        self._capacity = capacity
        self._flush_seconds = flush_seconds
        self._queue: SimpleQueue[Line | Event] = SimpleQueue()  # an Event: set it once the lines before it are written
        self._closed = False
        self._overflowed = 0  # counted by put()
        self._unwritten = 0  # counted by the thread: `+=` on one shared counter would lose counts
        self._stalled = False
        Thread(target=self._write_batches, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """The number of lines lost so far."""
        return self._overflowed + self._unwritten

    def put(self, line: Line) -> None:
        """Queue a line for writing, or drop it when the queue is full. Never blocks."""
        if self._queue.qsize() < self._capacity:
            self._queue.put(line)
        else:
            self._overflowed += 1

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.put(msgspec.Raw(self.format(record).encode()))
        except Exception:  # as all of logging's handlers: a bad record must not fail the code that logs it
            self.handleError(record)

    def flush(self, timeout: float = STOP_SECONDS) -> None:
        """Wait until every queued line is written, for `timeout` seconds at most.

        After one timeout, or when it is closed, it does not wait: logging flushes every handler again when the process
        ends, also those that were replaced.
        """
        if not (self._stalled or self._closed):
            written = Event()
            self._queue.put(written)
            self._stalled = not written.wait(timeout)

    def close(self) -> None:
        """End the thread once it has written the queued lines."""
        self._closed = True
        self._queue.put(Event())
        super().close()

    def _write_batches(self) -> None:
        reported = 0
        while not (self._closed and self._queue.empty()):
            first = self._queue.get()  # sleeps while there are no lines: each wake-up would interrupt the event loop
            if type(first) is not Event:
                time.sleep(self._flush_seconds)
            batch = [first, *(self._queue.get() for _ in range(self._queue.qsize()))]
            lines = [item for item in batch if type(item) is not Event]
            dropped = self.dropped
            if dropped > reported:
                lines.append(_dropped_lines(dropped - reported))
            if self._write(_encoder.encode_lines(lines)):
                reported = dropped
            else:
                self._unwritten += len(lines) - (dropped > reported)
            if len(lines) < len(batch):
                for item in batch:
                    if isinstance(item, Event):
                        item.set()

    def _write(self, data: bytes) -> bool:
        try:
            while data:  # os.write, because a blocked write to sys.stdout holds a lock that the process's end needs
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # the reader is gone
            return False
        return True


def _dropped_lines(number: int) -> Line:
    message = f"{number} log lines were dropped: standard output was not read"
    return {"time": datetime.now(UTC), "level": "warning", "logger": __name__, "message": message}


def configure_logging(level: str) -> Output:
    """Send the log records of this process, from `level` up, to standard output. Returns the handler."""
    output = Output(STDOUT)
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    if level == "info":
        for library in ("httpx", "uvicorn"):  # they log each fetch, and each step of a start and a stop
            logging.getLogger(library).setLevel("WARNING")
    return output
