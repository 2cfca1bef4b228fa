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
"""Lines are collected for this long and written with one call, because a call costs more than a line."""

STOP_SECONDS = 1.0
"""The longest wait of flush() for a stalled reader."""

CAPACITY = 10_000
"""The most lines that wait to be written, a few megabytes. Further lines are dropped."""

Line = msgspec.Raw | dict[str, Any]

_encoder = msgspec.json.Encoder()


class JSONFormatter(logging.Formatter):
    """Formats a log record as JSON, with the members of `extra={"members": {...}}`.

    An exception is logged with its type, SQLSTATE and frames, without its message, which may contain values.
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
    """Writes lines to a file descriptor in a thread of its own, so that a stalled reader does not delay requests.

    At most `capacity` lines are queued. `dropped` counts the lines that exceeded it and the lines that could not be
    written.
    """

    def __init__(self, descriptor: int, *, capacity: int = CAPACITY, flush_seconds: float = FLUSH_SECONDS) -> None:
        super().__init__()
        self.setFormatter(JSONFormatter())
        self._descriptor = descriptor
        self._capacity = capacity
        self._flush_seconds = flush_seconds
        self._queue: SimpleQueue[Line | Event] = SimpleQueue()  # an Event is set when the lines before it are written
        self._closed = False
        self._overflowed = 0  # counted by put()
        self._unwritten = 0  # counted by the thread: `+=` in two threads on one counter loses counts
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
        except Exception:  # as in all of logging's handlers: a bad record must not raise in the caller
            self.handleError(record)

    def flush(self, timeout: float = STOP_SECONDS) -> None:
        """Wait until every queued line is written, for at most `timeout` seconds.

        After one timeout, or after close(), it does not wait: logging flushes every handler again when the process
        ends, including handlers that were replaced.
        """
        if not (self._stalled or self._closed):
            written = Event()
            self._queue.put(written)
            self._stalled = not written.wait(timeout)

    def close(self) -> None:
        """End the thread after it has written the queued lines."""
        self._closed = True
        self._queue.put(Event())
        super().close()

    def _write_batches(self) -> None:
        reported = 0
        while not (self._closed and self._queue.empty()):
            first = self._queue.get()  # blocks while there are no lines: each wake-up would interrupt the event loop
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
            while data:  # not sys.stdout: a blocked write to it holds a lock that the end of the process needs
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # the reader has closed its end
            return False
        return True


def _dropped_lines(number: int) -> Line:
    message = f"{number} log lines were dropped: standard output was not read"
    return {"time": datetime.now(UTC), "level": "warning", "logger": __name__, "message": message}


def configure_logging(level: str) -> Output:
    """Write the log records of this process from `level` up to standard output. Return the handler."""
    output = Output(STDOUT)
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    if level == "info":
        for library in ("httpx", "uvicorn"):  # they log each request, and each step of a start and a stop
            logging.getLogger(library).setLevel("WARNING")
    return output
