"""A request on its way through the application, and its answer on the wire. What callers send is protocol.py's."""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from service.api.payloads import CLOSE, ClientDisconnected, ResponseAborted, problem_response, send_response
from service.api.problems import UNAVAILABLE, UNEXPECTED, Headers, Problem, ProblemType

if TYPE_CHECKING:
    from service.edge.connection import Conversation

logger = logging.getLogger(__name__)

STATUS_LINE = {status.value: f"HTTP/1.1 {status} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Cycle:
    """A request and its answer. `hesitant` is a caller who sends the body when asked to (Expect: 100-continue).

    The answer's head waits for the first piece of the body: uvloop makes each write a system call, and that costs more
    than all of our own code does.
    """

    more_body = True
    news = False  # something has come that receive() has not told yet
    waiting: asyncio.Event | None = None  # receive() does, for news
    refused: ProblemType | None = None
    disconnected = False
    response_started = False
    response_complete = False
    unavailable = False  # the answer is 503
    unsent = b""
    task: asyncio.Task[None]

    def __init__(
        self, conversation: "Conversation", scope: dict[str, Any], *, keep_alive: bool, hesitant: bool
    ) -> None:
        self.scope = scope
        self.transport = conversation.transport
        self.flow = conversation.flow
        self.server_state = conversation.server_state
        self.on_response = conversation.answered
        self.keep_alive = keep_alive
        self.hesitant = hesitant
        self.body = bytearray()

    async def run(self, app: Any) -> None:
        """Lets the application answer, and ends the connection when it fails to."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                raise RuntimeError("the application gave no answer, or half of one")
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
        """What comes next of the request. Raises Problem when it will not come."""
        if self.hesitant and not self.refused and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.hesitant = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self.news:
                self.waiting = self.waiting or asyncio.Event()
                await self.waiting.wait()
            self.news = False
        if self.refused:
            raise Problem(self.refused, headers=CLOSE)
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def go_on(self) -> None:
        """Lets receive() tell what has come."""
        self.news = True
        if self.waiting:
            self.waiting.set()
            self.waiting = None

    async def send(self, message: Any) -> None:
        """Sends a part of the answer. Raises Unheard for one that nobody will hear, unless it is the last."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.response_started:
            self.response_started = True
            self.unavailable = message["status"] == 503
            fields = message["headers"]
            closing = CLOSE[0] in fields
            if closing or self.hesitant:  # else the body might still come, or not (RFC 9110, 10.1.1)
                self.keep_alive = self.hesitant = False
            self.unsent, self.chunked_encoding = head(
                message["status"],
                (*self.server_state.default_headers, *fields),
                sized=self.scope["http_version"] == "1.0",  # by the end of the connection
                close=not self.keep_alive and not closing,
            )
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        silent = self.scope["method"] == "HEAD"
        if more and (silent or self.disconnected):
            raise ClientDisconnected
        if self.disconnected:
            return
        pieces = [self.unsent]
        if body and not silent:
            pieces += (b"%x\r\n" % len(body), body, b"\r\n") if self.chunked_encoding else (body,)
        self.unsent = b""
        if more:
            # not joined: a slow reader's long page would lie here twice, in the answer and on its way out
            self.transport.writelines(pieces)
            await self.flow.drain()  # before the next piece is read from the database, and not before it is sent
            return
        if self.chunked_encoding and not silent:
            pieces.append(b"0\r\n\r\n")
        self.transport.write(b"".join(pieces))
        self.response_complete = True
        self.go_on()
        self.on_response(self)

    async def send_500_response(self) -> None:
        """Answers for an endpoint that cannot: it has ended by an error, or by a stop that waits no longer."""
        kind = UNAVAILABLE if self.task.cancelling() else UNEXPECTED
        await send_response(self.send, problem_response(Problem(kind)), CLOSE)

    def leave(self) -> None:
        """Tells the application that nobody listens any more."""
        self.disconnected = True
        self.go_on()

    def refuse(self, kind: ProblemType) -> None:
        """Tells the application that no more of the body will come, and why."""
        self.refused = kind
        self.keep_alive = False
        self.go_on()


def head(status: int, fields: Iterable[tuple[bytes, bytes]], *, sized: bool, close: bool) -> tuple[bytes, bool]:
    """The head of an answer, and whether its body is chunked. All names and values are ours: none needs a check."""
    sized = sized or status in (204, 304)
    lines = [STATUS_LINE[status]]
    for name, value in fields:
        if name == b"content-length":
            sized = True
        lines += (name, b": ", value, b"\r\n")
    if not sized:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(lines), not sized


def last_answer(kind: ProblemType, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A refusal, whole, for a request that the application does not see."""
    answer = problem_response(Problem(kind))
    fields: Headers = (*default_headers, *answer.headers, (b"content-length", b"%d" % len(answer.body)))
    return head(answer.status, fields, sized=True, close=True)[0] + answer.body
