"""The HTTP edge: uvicorn's httptools protocol with the limits that it lacks, and each answer in one write.

uvicorn limits neither the size of a head nor the time that a request takes to arrive (Kludex/uvicorn issue 157).
This leans on the inside of one version of it, and server.py starts with no other.
"""

import re
from asyncio import Event
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import BAD_REQUEST, HEADERS_TOO_LARGE, OVERLOADED, REQUEST_TIMEOUT, Kind, Problem
from service.wire import refusal

UVICORN = "0.54.0"

HEAD_BYTES = 16 * 1024
"""Request line and headers at most; a larger head is 431."""

HEAD_SECONDS = 5.0
"""From the first byte of a request to the end of its headers; a slower one is 408."""

BODY_SECONDS = 10.0
"""From the end of the headers to the end of the body; a slower one is 408."""

READER_SECONDS = 30.0
"""Who takes in nothing of an answer for so long is cut off."""

HOST = re.compile(rb"([A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?").fullmatch
"""RFC 9110, section 7.2."""


class Refused(Exception):
    """Raised within the parser for a request that the application shall not see."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.detail)
        self.kind = kind


def head(status: int, headers: Iterable[tuple[bytes, bytes]], *, close: bool) -> tuple[bytes, bool]:
    """The head of an answer, and whether its body is chunked. All names and values are ours: none needs a check."""
    chunked = status not in (204, 304)
    lines = [STATUS_LINE[status]]
    for name, value in headers:
        chunked = chunked and name != b"content-length"
        lines += (name, b": ", value, b"\r\n")
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(lines), chunked


class Cycle(RequestResponseCycle):
    """A request and its answer, whose head waits for the first piece of the body.

    uvloop makes each write a system call, and that costs more than all of our own code does.
    """

    unsent = b""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            headers = message["headers"]
            self.keep_alive = self.keep_alive and (b"connection", b"close") not in headers
            headers = [*self.default_headers, *(field for field in headers if field[0] != b"connection")]
            self.unsent, self.chunked_encoding = head(message["status"], headers, close=not self.keep_alive)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
        elif self.chunked_encoding:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        self.transport.write(self.unsent + body)
        self.unsent = b""
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


class Protocol(HttpToolsProtocol):
    """One caller's connection. `deadline`, by the loop's clock, is when patience with it ends."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.in_head = False
        self.head_bytes = 0
        self.hosts: list[bytes] = []
        self.deadline = self.loop.time() + self.timeout_keep_alive
        self.watch = self.loop.call_later(HEAD_SECONDS, self.check_deadline)
        if self.limit_concurrency and len(self.connections) > self.limit_concurrency:
            self.refuse(OVERLOADED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        super().connection_lost(exc)

    def check_deadline(self) -> None:
        """Ends a connection past its deadline: one timer a connection, where uvicorn has one a request."""
        rest = self.deadline - self.loop.time()
        if rest > 0:
            self.watch = self.loop.call_later(min(rest, HEAD_SECONDS), self.check_deadline)
        elif self.in_head or self.receiving():
            self.refuse(REQUEST_TIMEOUT)
        else:
            self.transport.abort()

    def receiving(self) -> bool:
        """Whether the body of a request that has no answer yet is arriving."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_started

    def data_received(self, data: bytes) -> None:
        self.head_bytes = len(data) + (self.head_bytes if self.in_head else 0)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # answered as plain HTTP; what follows is none
        except httptools.HttpParserError as error:
            cause = error.__context__
            self.refuse(cause.kind if isinstance(cause, Refused) else BAD_REQUEST)
        else:
            if self.in_head and self.head_bytes > HEAD_BYTES:
                self.refuse(HEADERS_TOO_LARGE)

    def refuse(self, kind: Kind) -> None:
        """Answers in the application's place, if no other answer is due first, and closes the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or self.receiving():
            answer = refusal(Problem(kind))
            length = (b"content-length", b"%d" % len(answer.body))
            fields = (*self.server_state.default_headers, *answer.headers, length)
            self.transport.write(head(answer.status, fields, close=True)[0] + answer.body)
        if self.cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.hosts = []
        self.expect_100_continue = False
        self.in_head = True
        self.deadline = self.loop.time() + HEAD_SECONDS

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"host":
            self.hosts.append(value)
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        version = self.parser.get_http_version()
        if self.head_bytes > HEAD_BYTES:  # with what came after it in the same read
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEAD_BYTES:
                raise Refused(HEADERS_TOO_LARGE)
        if (len(self.hosts) != 1 and (self.hosts or version == "1.1")) or not all(map(HOST, self.hosts)):
            raise Refused(BAD_REQUEST)
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": self.scheme or "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "state": self.app_state,
        }
        before, self.cycle = (
            self.cycle,
            Cycle(
                scope=self.scope,
                transport=self.transport,
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=False,
                default_headers=self.server_state.default_headers,
                message_event=Event(),
                expect_100_continue=self.expect_100_continue,
                keep_alive=version != "1.0" and self.parser.should_keep_alive(),
                on_response=self.on_response_complete,
            ),
        )
        self.deadline = self.loop.time() + BODY_SECONDS
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_message_complete(self) -> None:
        self.deadline = float("inf")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self.in_head:
            self.deadline = self.loop.time() + self.timeout_keep_alive

    def pause_writing(self) -> None:
        super().pause_writing()
        self.deadline = self.loop.time() + READER_SECONDS

    def resume_writing(self) -> None:
        super().resume_writing()
        self.deadline = self.loop.time() + self.timeout_keep_alive
