"""The request log: one line for each request, with the time for which the request waited for the database."""

import re
from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from typing import Any

import msgspec

from service.observability.log import Output

valid_request_id = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
"""Matches an X-Request-ID of a client that is safe to log and to return."""

valid_traceparent = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
"""Matches a valid traceparent header: W3C Trace Context, section 3.2.2."""

_prefix = token_hex(4).encode()
_numbers = count(1)


def accept_request_id(given: bytes | None) -> bytes:
    """Return the client's request id if it is valid, otherwise a new id."""
    if given is not None and valid_request_id(given):
        return given
    return b"%b-%x" % (_prefix, next(_numbers))


class Timing(msgspec.Struct):
    """Seconds for which a request waited for a connection (`wait`) and for database responses (`database`)."""

    wait: float = 0
    database: float = 0


current_timing: ContextVar[Timing | None] = ContextVar("current_timing", default=None)
"""The timing of the current task's request. None before its first statement."""


def add_database_time(wait: float, database: float) -> None:
    """Add the seconds of one statement to the timing of the current request. Called in the request's task."""
    timing = current_timing.get()
    if timing is None:
        current_timing.set(Timing(wait, database))
    else:
        timing.wait += wait
        timing.database += database


class RequestLog:
    """Writes a line for each request, and calls `on_request` for each request.

    A line has the members time, level, method, operation, status, ms and request_id. It has db_ms if a statement was
    run, and traceparent if the client sent a valid one. The operations in `probes` are logged at `debug` only.
    """

    def __init__(
        self,
        level: str,
        probes: Set[str],
        output: Output,
        on_request: Callable[[str, int, float, float], None] | None = None,
    ) -> None:
        self._least_status = {"debug": 100, "info": 100, "warning": 500, "error": 500}[level]
        self._unlogged = frozenset[str]() if level == "debug" else probes
        self._output = output
        self._on_request = on_request

    def write(
        self,
        method: str,
        operation: str,
        status: int,
        seconds: float,
        request_id: bytes,
        headers: Mapping[bytes, bytes],
    ) -> None:
        """Queue the line of a request that has ended, if its level is logged. `headers` are its request headers."""
        if self._on_request:
            timing = current_timing.get()
            self._on_request(operation, status, seconds, timing.database if timing else 0.0)
        if status < self._least_status or operation in self._unlogged:
            return
        line: dict[str, Any] = {
            "time": datetime.now(UTC),
            "level": "info" if status < 500 else "warning",
            "method": method,
            "operation": operation,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "request_id": request_id.decode(),
        }
        timing = current_timing.get()
        if timing and timing.wait + timing.database:
            line["db_ms"] = round(timing.database * 1000, 2)
        traceparent = headers.get(b"traceparent", b"")
        if valid_traceparent(traceparent):
            line["traceparent"] = traceparent.decode()
        self._output.put(line)
