"""One client connection: the order of its responses, and how it is closed. protocol.py parses the requests."""

from collections import deque
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import Any

from service.api.problems import OVERLOADED, ProblemType
from service.edge.cycle import Cycle
from service.edge.deadlines import BODY, CLOSING, DELAYED, HEAD, IDLE, TimedConnection
from service.edge.response_head import final_response
from service.edge.state import EdgeState, RequestHeaders
from service.edge.transport import FlowControl, has_unread_bytes
from service.timers import LazyTimer

BODY_LOW_WATER_MARK = 7 / 8
"""The fraction of `total_body_bytes` down to which bodies are refused. At 1, the next byte would refuse another."""


class HTTPConnection(TimedConnection):
    """A connection that answers its requests one at a time, in the order of their arrival (RFC 9112, section 9.3).

    Invariants: `active` is the cycle that the application runs, `pipeline` contains the cycles after it, and `cycle` is
    the newest cycle. Reading is paused while `pipeline` is not empty. The subclass parses and calls `enqueue`.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__()
        self.app: Any = config.loaded_app
        self.app_state = app_state
        self.edge: EdgeState = app_state["edge"]
        self.limits = self.edge.limits
        self.server_state = server_state
        self.cycle: Any = None
        self.pipeline: deque[Cycle] = deque()
        self.headers: RequestHeaders = []  # of the newest request
        self.refused: ProblemType | None = None  # sent when the responses before it are complete
        self.received_eof = False
        self.held = bytearray()  # bytes received in DELAYED

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.flow = FlowControl(transport, self.loop.time)
        transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, self.limits.unsent_bytes)
        connections, over_limit = self.server_state.connections, self.edge.over_limit
        connections.add(self)
        if len(connections) - len(over_limit) > self.limits.connections:
            self.is_over_limit = True
            over_limit[self] = None
            if len(over_limit) > self.limits.connections:
                # Close the oldest; the newest may be a probe.
                oldest = next(iter(over_limit))
                del over_limit[oldest]  # not in connection_lost(): other connections may be made before that call
                oldest.transport.abort()
        self.watchdog = LazyTimer(self.on_watchdog)
        self.watch()
        if self.edge.stopping:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        self.edge.over_limit.pop(self, None)
        for cycle in (self.active, *self.pipeline):
            if cycle:
                self.release_body(cycle)
        if self.active:
            self.active.on_disconnect()
        # Break the reference cycles, so that this object is freed now and not by the next garbage collection.
        self.watchdog.close()
        del self.watchdog
        self.cycle = self.active = None
        self.pipeline.clear()
        self.flow.resume_writing()

    def eof_received(self) -> bool:
        """Keep a half-closed connection open while responses are pending."""
        if self.state is DELAYED:
            self.end_delay()
        self.received_eof = True
        if self.active is None or self.state is BODY:
            return False
        self.cycle.keep_alive = False
        self.state = CLOSING
        return True

    def enqueue(self, cycle: Cycle) -> None:
        """Start the request, or queue it until the responses before it are complete."""
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
        if cycle.received_bytes:
            self.release_body(cycle)
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self.close_after_response(None)
        elif self.pipeline:
            self.start(self.pipeline.popleft())
        elif self.refused:
            self.close_after_response(self.refused)
        else:
            now = self.loop.time()
            if self.state is IDLE or self.flow.read_paused:
                self.state_since = now
            if self.flow.read_paused:
                self.flow.resume_reading()
            if self.edge.stopping:
                self.close_if_idle()
            elif cycle.is_unavailable and self.state is IDLE:
                self.delay = self.edge.unavailable.reserve(now)
                if self.delay > 0:
                    self.state = DELAYED
                    self.watch()

    def hold(self, data: bytes) -> None:
        """Buffer bytes received in DELAYED. If reading were paused, a disconnect would not be noticed."""
        self.held += data
        if len(self.held) > self.limits.buffered_body_bytes:
            self.flow.pause_reading()

    def end_delay(self) -> None:
        held, self.held = bytes(self.held), bytearray()
        self.state, self.state_since = IDLE, self.loop.time()
        self.flow.resume_reading()
        self.data_received(held)

    def release_body(self, cycle: Cycle) -> None:
        self.edge.body_bytes -= cycle.received_bytes
        cycle.received_bytes = 0

    def refuse_largest_bodies(self) -> None:
        """Refuse the largest bodies that are being received, so that small bodies are not refused."""
        in_body = [connection for connection in self.server_state.connections if connection.state is BODY]
        in_body.sort(key=lambda connection: connection.cycle.received_bytes, reverse=True)
        for connection in in_body:
            if self.edge.body_bytes <= BODY_LOW_WATER_MARK * self.limits.total_body_bytes:
                return
            connection.refuse(OVERLOADED)

    def refuse(self, type: ProblemType) -> None:
        """Refuse the request that is being received: send pending responses, then the refusal, then close."""
        in_body, self.state = self.state is BODY, CLOSING
        if in_body:
            self.release_body(self.cycle)
            self.cycle.refuse(type)
        else:
            self.refused = type
        if self.active is None:
            self.close_after_response(self.refused)

    def close_after_response(self, refused: ProblemType | None) -> None:
        """Close the connection, with `refused` as the last response if it is not None.

        At first only the sending side is closed, and received bytes are read and discarded. Closing a socket with
        unread bytes sends a reset, and the client may lose the response (RFC 9112, section 9.6).
        """
        self.state = CLOSING
        if refused:
            self.edge.refused[refused.status] += 1  # no endpoint and no log line counts it
            added = (*self.server_state.default_headers, *self.edge.refusal_headers(self.headers))
            self.transport.write(final_response(refused, added))
        if self.received_eof:
            self.transport.close()
        else:
            self.transport.write_eof()
            self.flow.resume_reading()
        self.state_since = self.loop.time()
        self.watch()

    def shutdown(self) -> None:
        """Close the connection after its pending responses. uvicorn calls this at a graceful stop."""
        self.edge.draining = self.edge.stopping = True
        if self.state is DELAYED:
            self.end_delay()
        self.loop.call_later(self.limits.drain_seconds, self.close_if_idle)

    def close_if_idle(self) -> None:
        """Close the connection unless a response or a body is pending.

        Try again after `drain_seconds` if bytes are unread, or if a head began less than `drain_seconds` ago.
        """
        if self.transport.is_closing() or self.active or self.state not in (IDLE, HEAD):
            return
        is_receiving = self.state is HEAD and self.loop.time() < self.state_since + self.limits.drain_seconds
        if is_receiving or has_unread_bytes(self.transport):
            self.loop.call_later(self.limits.drain_seconds, self.close_if_idle)
        else:
            self.transport.close()
