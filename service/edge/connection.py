"""One client connection: the order of its responses, its deadlines and its end. protocol.py parses what arrives."""

import asyncio
from collections import deque
from enum import Enum
from math import inf
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import Any

from service.api.problems import OVERLOADED, REQUEST_TIMEOUT, ProblemType
from service.edge.cycle import Cycle
from service.edge.limits import Limits
from service.edge.response_head import final_response
from service.edge.state import EdgeState
from service.edge.transport import FlowControl
from service.timers import LazyTimer

State = Enum("State", ["IDLE", "HEAD", "BODY", "CLOSING"])
"""What the client's next byte belongs to. CLOSING: to nothing; it is read and dropped."""
IDLE, HEAD, BODY, CLOSING = State  # a global is found faster than a member


class HTTPConnection(asyncio.Protocol):
    """A connection that answers its requests one after another, in the order of their arrival (RFC 9112, section 9.3).

    Invariants: `active` is the cycle that the application works on, `pipeline` holds the cycles after it, and `cycle`
    is the last of them all. Reading is paused while `pipeline` is not empty. Subclasses parse, and call `enqueue`.
    """

    transport: asyncio.Transport
    flow: FlowControl
    watchdog: LazyTimer
    limits: Limits

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.app: Any = config.loaded_app
        self.app_state = app_state
        self.edge: EdgeState = app_state["edge"]
        self.limits = self.edge.limits
        self.server_state = server_state
        self.cycle: Any = None
        self.active: Cycle | None = None
        self.pipeline: deque[Cycle] = deque()
        self.state = IDLE
        self.state_since = self.loop.time()
        self.refused: ProblemType | None = None  # sent when the responses before it are complete
        self.received_eof = False
        self.unsent_bytes = 0  # at the watchdog's last look
        self.read_deadline = inf

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.flow = FlowControl(transport)
        connections = self.server_state.connections
        connections.add(self)
        transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, self.limits.unsent_bytes)
        self.watchdog = LazyTimer(self.check_deadlines)
        self.watchdog.set(self.loop.time() + self.limits.head_seconds)
        if len(connections) > 2 * self.limits.connections:
            transport.abort()  # a response to each of any number of connections would be no limit
        elif len(connections) > self.limits.connections:
            self.refuse(OVERLOADED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        if self.active:
            self.active.on_disconnect()
        # These refer to this object: without them it is freed at once, not by the next garbage collection.
        self.watchdog.close()
        del self.watchdog
        self.cycle = self.active = None
        self.pipeline.clear()
        self.flow.resume_writing()

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    def shutdown(self) -> None:
        """Close the connection when its pending responses are complete. uvicorn calls it at a graceful stop."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def eof_received(self) -> bool:
        """Keep a half-closed connection open while responses are pending."""
        self.received_eof = True
        if self.active is None or self.state is BODY:
            return False
        self.cycle.keep_alive = False
        self.state = CLOSING
        return True

    @property
    def deadline(self) -> float:
        """When the state must have changed."""
        if self.state is HEAD:
            return self.state_since + self.limits.head_seconds
        if self.state is BODY:
            return self.state_since + self.limits.body_seconds
        if self.active:
            return inf
        return self.state_since + (self.limits.linger_seconds if self.state is CLOSING else self.limits.idle_seconds)

    def check_deadlines(self) -> None:
        """Refuse a slow request, and disconnect a client that is idle or does not read."""
        now, unsent_bytes = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent_bytes != self.unsent_bytes:
            self.unsent_bytes = unsent_bytes
            self.read_deadline = now + self.limits.read_seconds if unsent_bytes else inf
        is_sending = unsent_bytes > 0 and self.state in (IDLE, CLOSING)
        # While reading is paused, or a response is being sent, it is not the client that is late.
        is_late = now >= self.deadline and not is_sending and not self.flow.read_paused
        if is_late and self.state in (HEAD, BODY) and not self.transport.is_closing():
            self.refuse(REQUEST_TIMEOUT)
        elif is_late or now >= self.read_deadline:
            self.transport.abort()
            return
        self.set_watchdog()

    def set_watchdog(self) -> None:
        # A state's deadline is not known to the timer when the state begins, so it looks once per `head_seconds`.
        now = self.loop.time()
        seconds = min(self.deadline, self.read_deadline) - now
        self.watchdog.set(now + (seconds if 0 < seconds < self.limits.head_seconds else self.limits.head_seconds))

    def enqueue(self, cycle: Cycle) -> None:
        """Start the request when the responses before it are complete."""
        previous, self.cycle = self.cycle, cycle
        if previous is None or previous.response_complete:
            self.start(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.append(cycle)

    def start(self, cycle: Cycle) -> None:
        self.active = cycle
        cycle.task = self.loop.create_task(cycle.run(self.app))
        self.server_state.tasks.add(cycle.task)

    def on_response_complete(self, cycle: Cycle) -> None:
        """Start the next request, wait for one, or close the connection."""
        self.active = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self.close_after_response(None)
        elif self.pipeline:
            self.start(self.pipeline.popleft())
            self.state_since = self.loop.time()  # reading was paused: its body could not arrive
        elif self.refused:
            self.close_after_response(self.refused)
        else:
            if self.state is IDLE or self.flow.read_paused:
                self.state_since = self.loop.time()
            if cycle.is_unavailable and (delay := self.edge.unavailable.reserve(self.loop.time())) > 0:
                self.flow.pause_reading()
                self.loop.call_later(delay, self.end_delay)
            else:
                self.flow.resume_reading()

    def end_delay(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def refuse(self, type: ProblemType) -> None:
        """Refuse the request that is arriving, after the responses that are pending before it, and close."""
        in_body, self.state = self.state is BODY, CLOSING
        if in_body:
            self.cycle.refuse(type)
        else:
            self.refused = type
        if self.active is None:
            self.close_after_response(self.refused)

    def close_after_response(self, refused: ProblemType | None) -> None:
        """Close the connection, with `refused` as the last response if it is not None.

        Only the sending side is closed at first, and the client's bytes are read: to close with unread bytes sends a
        reset, and the client may lose the response (RFC 9112, section 9.6).
        """
        self.state = CLOSING
        if refused:
            self.edge.refused[refused.status] += 1  # neither an endpoint nor the log counts it
            self.transport.write(final_response(refused, self.server_state.default_headers))
        if self.received_eof:
            self.transport.close()
        else:
            self.transport.write_eof()
            self.flow.resume_reading()
        self.state_since = self.loop.time()
        self.set_watchdog()
