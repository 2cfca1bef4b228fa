"""Log lines: one JSON object each, on standard output. Never a token, a title, an argument of a statement or a DSN."""

import asyncio
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from typing import Any

import msgspec

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
"""A caller's X-Request-ID that may be logged and sent back."""

FLUSH_SECONDS = 0.05
"""Lines of requests are written together after so long: a write call each would cost more than the line."""

_encode = msgspec.json.Encoder().encode
_prefix = token_hex(4)
_numbers = count(1)


def request_id(given: bytes | None) -> bytes:
    """The caller's own request id if it is sane, else a new one."""
    if given is not None and SANE_ID(given):
        return given
    return b"%s-%x" % (_prefix.encode(), next(_numbers))


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
        return _encode(line).decode()


class RequestLog:
    """One line for each request: method, operation, status, milliseconds, request id."""

    def __init__(self, level: str) -> None:
        self._least = {"debug": 100, "info": 100, "warning": 500, "error": 500}[level]
        self._lines: list[bytes] = []

    def write(self, method: str, operation: str, status: int, seconds: float, request_id: bytes) -> None:
        if status < self._least:
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        line = {
            "time": datetime.now(UTC),
            "level": "info" if status < 500 else "warning",
            "method": method,
            "operation": operation,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "request_id": request_id.decode(),
        }
        self._lines.append(_encode(line) + b"\n")

    def flush(self) -> None:
        """Writes the lines that wait."""
        lines, self._lines = self._lines, []  # first, lest they pile up when nobody reads them any more
        sys.stdout.buffer.write(b"".join(lines))
        sys.stdout.flush()


def configure_logging(level: str) -> None:
    """All of this process's log records as JSON lines on standard output, from `level` on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
