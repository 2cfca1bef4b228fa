"""A request on its way through the application, and its answer on the wire. What callers send is protocol.py's."""

from asyncio import Event, Task
from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import UNAVAILABLE, UNEXPECTED, Headers, Kind, Problem
from service.wire import CLOSE, CutShort, Unheard, refusal, send_response


class Cycle(RequestResponseCycle):
    """A request and its answer, whose head waits for the first piece of the body.

    uvloop makes each write a system call, and that costs more than all of our own code does.
    """

    disconnected = False
    unavailable = False
    more_body = True
    response_started = False
    response_complete = False
    refused: Kind | None = None
    unsent = b""
    task: Task[None]

    def __init__(self, protocol: HttpToolsProtocol, scope: Any, on_response: Callable[["Cycle"], None]) -> None:
        # instead of uvicorn's, which takes all of this as arguments
        lasting = scope["http_version"] == "1.1"
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.message_event = Event()
        self.on_response = on_response
        self.tasks = protocol.tasks
        self.keep_alive = lasting and protocol.parser.should_keep_alive()
        self.waiting_for_100_continue = lasting and protocol.expect_100_continue
        self.body = bytearray()

    async def run_asgi(self, app: Any) -> None:
        """Lets the application answer, and ends the connection when it fails to."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            if not isinstance(error, CutShort):
                self.logger.error("Exception in ASGI application", exc_info=error)
            if self.response_started:
                self.transport.close()
            else:
                await self.send_500_response()
        finally:
            self.tasks.discard(self.task)

    async def receive(self) -> Any:
        """What comes next of the request. Raises Problem when it will not come."""
        message = await super().receive()
        if self.refused:
            raise Problem(self.refused, headers=CLOSE)
        return message

    async def send(self, message: Any) -> None:
        """Sends a part of the answer. Raises Unheard for one that nobody will hear, unless it is the last."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.response_started:
            self.response_started = True
            self.unavailable = message["status"] == 503
            fields = message["headers"]
            closing = CLOSE[0] in fields
            if closing or self.waiting_for_100_continue:  # else the body might still come, or not (RFC 9110, 10.1.1)
                self.keep_alive = False
            self.unsent, self.chunked_encoding = head(
                message["status"],
                (*self.default_headers, *fields),
                sized=self.scope["http_version"] == "1.0",  # by the end of the connection
                close=not self.keep_alive and not closing,
            )
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        silent = self.scope["method"] == "HEAD"
        if more and (silent or self.disconnected):
            raise Unheard
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
        self.message_event.set()
        self.on_response(self)

    async def send_500_response(self) -> None:
        """Answers for an endpoint that cannot: it has ended by an error, or by a stop that waits no longer."""
        kind = UNAVAILABLE if self.task.cancelling() else UNEXPECTED
        await send_response(self.send, refusal(Problem(kind)), CLOSE)

    def leave(self) -> None:
        """Tells the application that nobody listens any more."""
        self.disconnected = True
        self.message_event.set()

    def refuse(self, kind: Kind) -> None:
        """Tells the application that no more of the body will come, and why."""
        self.refused = kind
        self.keep_alive = False
        self.message_event.set()


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


def last_answer(kind: Kind, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A refusal, whole, for a request that the application does not see."""
    answer = refusal(Problem(kind))
    fields: Headers = (*default_headers, *answer.headers, (b"content-length", b"%d" % len(answer.body)))
    return head(answer.status, fields, sized=True, close=True)[0] + answer.body
