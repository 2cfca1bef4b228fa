"""One client connection: the order of its responses, and its end. protocol.py parses what arrives."""

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

KEPT_BODY_BYTES = 7 / 8
"""Of `total_body_bytes`: what is left after bodies were refused, so that not each further byte refuses one."""


class HTTPConnection(TimedConnection):
    """A connection that answers its requests one after another, in the order of their arrival (RFC 9112, section 9.3).

    Invariants: `active` is the cycle that the application works on, `pipeline` holds the cycles after it, and `cycle`
    is the last of them all. Reading is paused while `pipeline` is not empty. Subclasses parse, and call `enqueue`.
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
        self.headers: RequestHeaders = []  # of the request that arrived last
        self.refused: ProblemType | None = None  # sent when the responses before it are complete
        self.received_eof = False
        self.held = bytearray()  # what arrived in DELAYED

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.flow = FlowControl(transport, self.loop.time)
        transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, self.limits.unsent_bytes)
        connections, excess = self.server_state.connections, self.edge.excess
        connections.add(self)
        if len(connections) - len(excess) > self.limits.connections:
            self.is_excess = True
            excess[self] = None
            if len(excess) > self.limits.connections:
                # The oldest gives way, not the newest: that may be a probe, which is answered at once.
                oldest = next(iter(excess))
                del excess[oldest]  # at once: connection_lost() is called later, and more may arrive before it
                oldest.transport.abort()
        self.watchdog = LazyTimer(self.on_watchdog)
        self.watch()
        if self.edge.stopping:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        self.edge.excess.pop(self, None)
        for cycle in (self.active, *self.pipeline):
            if cycle:
                self.release_body(cycle)
        if self.active:
            self.active.on_disconnect()
        # These refer to this object: without them it is freed at once, not by the next garbage collection.
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
        """Keep what arrives in DELAYED. A socket whose reading is paused would not notice that the client leaves."""
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
        """Refuse the largest bodies that are arriving: a client with small ones must not pay for the others."""
        arriving = [connection for connection in self.server_state.connections if connection.state is BODY]
        arriving.sort(key=lambda connection: connection.cycle.received_bytes, reverse=True)
        for connection in arriving:
            if self.edge.body_bytes <= KEPT_BODY_BYTES * self.limits.total_body_bytes:
                return
            connection.refuse(OVERLOADED)

    def refuse(self, type: ProblemType) -> None:
        """Refuse the request that is arriving, after the responses that are pending before it, and close."""
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

        Only the sending side is closed at first, and the client's bytes are read: to close with unread bytes sends a
        reset, and the client may lose the response (RFC 9112, section 9.6).
        """
        self.state = CLOSING
        if refused:
            self.edge.refused[refused.status] += 1  # neither an endpoint nor the log counts it
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
        """Close the connection when its pending responses are complete. uvicorn calls it at a graceful stop."""
        self.edge.draining = self.edge.stopping = True
        if self.state is DELAYED:
            self.end_delay()
        self.loop.call_later(self.limits.drain_seconds, self.close_if_idle)

    def close_if_idle(self) -> None:
        """Close the connection unless a response is pending, or a request has just arrived."""
        if self.transport.is_closing() or self.active or self.state not in (IDLE, HEAD):
            return
        is_arriving = self.state is HEAD and self.loop.time() < self.state_since + self.limits.drain_seconds
        if is_arriving or has_unread_bytes(self.transport):
            self.loop.call_later(self.limits.drain_seconds, self.close_if_idle)
        else:
            self.transport.close()
