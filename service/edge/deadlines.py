"""The states of a connection, and the deadline of each. One timer for each connection watches them."""

import asyncio
from enum import Enum
from math import inf

from service.api.problems import OVERLOADED, REQUEST_TIMEOUT, ProblemType
from service.edge.cycle import Cycle
from service.edge.limits import Limits
from service.edge.transport import FlowControl, has_unread_bytes
from service.timers import LazyTimer

State = Enum("State", ["IDLE", "HEAD", "BODY", "DELAYED", "CLOSING"])
"""What the client's next byte belongs to.

DELAYED: to a request that is parsed when a delay after a 503 has ended. CLOSING: to nothing; it is read and dropped.
"""
IDLE, HEAD, BODY, DELAYED, CLOSING = State  # a global is found faster than a member


class TimedConnection(asyncio.Protocol):
    """A connection whose `state` must change before `deadline`. `state_since` is when it last did."""

    transport: asyncio.Transport
    flow: FlowControl
    limits: Limits
    watchdog: LazyTimer

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.active: Cycle | None = None
        self.state = IDLE
        self.state_since = self.loop.time()
        self.is_excess = False  # it is past the limit of connections
        self.delay = 0.0  # of DELAYED
        self.unsent_bytes = 0  # when the watchdog last looked
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
        if self.is_excess and self.state in (IDLE, HEAD):
            seconds = limits.excess_seconds
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
        """Set the timer. The states that begin with a request do not set it, so it fires once per `head_seconds`."""
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
        # While reading is paused, or a response is being sent, it is not the client that is late.
        is_waiting = is_sending or (self.flow.read_paused and self.state is not DELAYED)
        if now >= self.deadline and not is_waiting:
            self.on_deadline()
        if not self.transport.is_closing():
            self.watch()

    def on_deadline(self) -> None:
        """Refuse a slow request, or end a connection that is idle or lingers."""
        if self.transport.is_closing() or self.state is CLOSING:
            self.transport.abort()
        elif self.state is DELAYED:
            self.end_delay()
        elif self.is_excess:
            self.refuse(OVERLOADED)
        elif self.state in (HEAD, BODY):
            self.refuse(REQUEST_TIMEOUT)
        elif not has_unread_bytes(self.transport):
            self.transport.close()
