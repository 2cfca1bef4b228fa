"""The states of a connection and their deadlines. Each connection has one timer."""

import asyncio
from enum import Enum
from math import inf

from service.api.problems import OVERLOADED, REQUEST_TIMEOUT, ProblemType
from service.edge.cycle import Cycle
from service.edge.limits import Limits
from service.edge.transport import FlowControl, has_unread_bytes
from service.timers import LazyTimer

State = Enum("State", ["IDLE", "HEAD", "BODY", "DELAYED", "CLOSING"])
"""The state of the parser.

IDLE: between two requests. HEAD, BODY: in a request. DELAYED: input is buffered during a delay after a 503.
CLOSING: input is discarded.
"""
IDLE, HEAD, BODY, DELAYED, CLOSING = State  # reading a global is faster than reading an enum member


class TimedConnection(asyncio.Protocol):
    """A connection whose `state` must change before `deadline`. `state_since` is the time of the last change."""

    transport: asyncio.Transport
    flow: FlowControl
    limits: Limits
    watchdog: LazyTimer

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.active: Cycle | None = None
        self.state = IDLE
        self.state_since = self.loop.time()
        self.is_over_limit = False  # there were too many connections when it was made
        self.delay = 0.0  # seconds in DELAYED
        self.unsent_bytes = 0  # at the last call of the watchdog
        self.read_deadline = inf

    def refuse(self, type: ProblemType) -> None:
        raise NotImplementedError

    def end_delay(self) -> None:
        raise NotImplementedError

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    @property
    def deadline(self) -> float:
        limits = self.limits
        if self.is_over_limit and self.state in (IDLE, HEAD):
            seconds = limits.over_limit_seconds
        elif self.state is HEAD:
            seconds = limits.head_seconds
        elif self.state is BODY:
            seconds = limits.body_seconds + self.flow.read_paused_seconds
        elif self.active:
            return inf
        elif self.state is DELAYED:
            seconds = self.delay
        else:
            seconds = limits.linger_seconds if self.state is CLOSING else limits.idle_seconds
        return self.state_since + seconds

    def watch(self) -> None:
        """Set the timer. HEAD and BODY do not set it when they begin, so it fires at least once per `head_seconds`."""
        now = self.loop.time()
        seconds = min(self.deadline, self.read_deadline) - now
        self.watchdog.set(now + (seconds if 0 < seconds < self.limits.head_seconds else self.limits.head_seconds))

    def on_watchdog(self) -> None:
        now, unsent_bytes = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent_bytes != self.unsent_bytes:
            self.unsent_bytes = unsent_bytes
            self.read_deadline = now + self.limits.read_seconds if unsent_bytes else inf
        if now >= self.read_deadline:
            self.transport.abort()
            return
        is_sending = unsent_bytes > 0 and self.state in (IDLE, CLOSING)
        # The client cannot send while reading is paused, and need not send while a response is being written.
        is_waiting = is_sending or (self.flow.read_paused and self.state is not DELAYED)
        if now >= self.deadline and not is_waiting:
            self.on_deadline()
        if not self.transport.is_closing():
            self.watch()

    def on_deadline(self) -> None:
        """Refuse a slow request, end a delay, or close a connection that is idle or in CLOSING."""
        if self.transport.is_closing() or self.state is CLOSING:
            self.transport.abort()
        elif self.state is DELAYED:
            self.end_delay()
        elif self.is_over_limit:
            self.refuse(OVERLOADED)
        elif self.state in (HEAD, BODY):
            self.refuse(REQUEST_TIMEOUT)
        elif not has_unread_bytes(self.transport):
            self.transport.close()
