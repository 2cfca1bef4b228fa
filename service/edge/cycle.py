"""One request and its response: the `receive` and `send` of the application."""

import asyncio
import logging
from collections.abc import Callable, Sized
from typing import Any

from service.api.payloads import CLOSE, ClientDisconnected, ResponseAborted, problem_response, send_response
from service.api.problems import UNAVAILABLE, UNEXPECTED, Problem, ProblemType
from service.edge.response_head import encode_head
from service.edge.state import EdgeState
from service.edge.transport import FlowControl, has_unread_bytes

logger = logging.getLogger(__name__)


class Cycle:
    """One request and its response. `waiting_for_100_continue`: the client sends the body after 100 Continue.

    The response's head is written together with the first part of the body: with uvloop each write is a system call,
    which costs more than all the code here.

    The object itself is the application's `send`. An application that has a whole response calls `send_whole` instead
    of sending two messages, which saves 4 % of a get's instructions. Middleware that must see the messages passes
    another function as `send`, which has no `send_whole`.
    """

    more_body = True
    has_data = False  # receive() has data to return
    wake: asyncio.Event | None = None  # not None while receive() waits
    refused: ProblemType | None = None
    disconnected = False
    response_started = False
    response_complete = False
    is_unavailable = False  # the response is 503
    unsent_head = b""
    received_bytes = 0  # bytes of the body that are counted in EdgeState.body_bytes
    task: asyncio.Task[None]

    def __init__(
        self,
        scope: dict[str, Any],
        transport: asyncio.Transport,
        flow: FlowControl,
        edge: EdgeState,
        server_state: Any,
        on_response_complete: Callable[["Cycle"], None],
        pipeline: Sized,
        *,
        keep_alive: bool,
        waiting_for_100_continue: bool,
    ) -> None:
        self.scope = scope
        self.transport = transport
        self.flow = flow
        self.edge = edge
        self.server_state = server_state
        self.on_response_complete = on_response_complete
        self.pipeline = pipeline  # the requests after this one
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = waiting_for_100_continue
        self.body = bytearray()

    async def run(self, app: Any) -> None:
        """Run the application. If it fails, respond with 500, or close the connection if the response has begun."""
        try:
            await app(self.scope, self.receive, self)
            if not self.response_complete and not self.disconnected:
                raise RuntimeError("the application returned without a complete response")
        except BaseException as error:
            if not isinstance(error, ResponseAborted):
                logger.error("Exception in ASGI application", exc_info=error)
            if self.response_started:
                self.transport.close()
            else:
                await self.send_500_response()
        finally:
            self.server_state.tasks.discard(self.task)

    async def receive(self) -> Any:
        """Wait for the next part of the request. Raises Problem when the connection refuses the rest of the body."""
        if self.waiting_for_100_continue and not self.refused and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            if self.flow.read_paused:
                self.flow.resume_reading()
            if not self.has_data:
                self.wake = self.wake or asyncio.Event()
                await self.wake.wait()
            self.has_data = False
        if self.refused:
            raise Problem(self.refused, headers=CLOSE)
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def wake_receive(self) -> None:
        """Make receive() return the data received so far."""
        self.has_data = True
        if self.wake:
            self.wake.set()
            self.wake = None

    async def __call__(self, message: Any) -> None:
        """Send a message. Raises ClientDisconnected if a part of the body that is not the last cannot be sent."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.response_started:
            self.start_response(message["status"], message["headers"])
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        is_head = self.scope["method"] == "HEAD"
        if more and (is_head or self.disconnected):
            raise ClientDisconnected
        if self.disconnected:
            return
        parts = [self.unsent_head]
        if body and not is_head:
            parts += (b"%x\r\n" % len(body), body, b"\r\n") if self.chunked_encoding else (body,)
        if more:
            self.unsent_head = b""
            # Not joined: a long page would be in memory twice while the client reads slowly.
            self.transport.writelines(parts)
            await self.flow.drain()  # the application reads the next page only after this one is sent
            return
        if self.chunked_encoding and not is_head:
            parts.append(b"0\r\n\r\n")
        self._complete(b"".join(parts))

    def send_whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole response. `headers` must have its Content-Length.

        Returns False and sends nothing while writing is paused or after the client has disconnected. The caller then
        sends the two messages.
        """
        if self.flow.write_paused or self.disconnected:
            return False
        self.start_response(status, headers)
        self._complete(self.unsent_head if self.scope["method"] == "HEAD" else self.unsent_head + body)
        return True

    def _complete(self, last_part: bytes) -> None:
        """Write the last part of the response. The next request may start before this function returns."""
        self.transport.write(last_part)
        self.unsent_head = b""
        self.response_complete = True
        if self.wake:
            self.wake_receive()
        self.on_response_complete(self)

    def start_response(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Encode the head, and decide whether the connection is closed after this response."""
        self.response_started = True
        self.is_unavailable = status == 503
        says_close = CLOSE[0] in headers
        if says_close or self.waiting_for_100_continue:
            # After a final response, the client may send the body or not (RFC 9110, section 10.1.1).
            self.keep_alive = self.waiting_for_100_continue = False
        elif self.edge.draining and not self.pipeline and not has_unread_bytes(self.transport):
            self.keep_alive = False
        self.unsent_head, self.chunked_encoding = encode_head(
            status,
            (*self.server_state.default_headers, *headers),
            until_close=self.scope["http_version"] == "1.0",
            close=not self.keep_alive and not says_close,
        )

    async def send_500_response(self) -> None:
        """Send 500 after an exception in the application, or 503 if the graceful stop cancelled it."""
        type = UNAVAILABLE if self.task.cancelling() else UNEXPECTED
        headers = (*CLOSE, *self.edge.refusal_headers(self.scope["headers"]))
        await send_response(self, problem_response(Problem(type)), headers)

    def on_disconnect(self) -> None:
        """Make receive() return `http.disconnect`."""
        self.disconnected = True
        self.wake_receive()

    def refuse(self, type: ProblemType) -> None:
        """Make receive() raise `type`, and read no more of the body."""
        self.refused = type
        self.keep_alive = False
        self.body.clear()
        self.wake_receive()
