"""The HTTP/1.1 parser of a connection: the callbacks of httptools.

uvicorn's own protocol limits neither the size of a head nor the duration of a request (Kludex/uvicorn issue 157).
"""

from typing import Any

import httptools

from service.api.problems import BAD_REQUEST, HEADERS_TOO_LARGE, OVERLOADED
from service.edge.connection import HTTPConnection
from service.edge.cycle import Cycle
from service.edge.deadlines import BODY, CLOSING, DELAYED, HEAD, IDLE
from service.edge.request_head import RequestRefused, read_head, without_upgrade
from service.edge.transport import local_address, remote_address


class HTTPProtocol(HTTPConnection):
    """Parses the requests of one connection.

    `non_body_bytes` counts the bytes since the last head that are not content of a body: the next head, chunk sizes,
    extensions and trailers. Its error is at most one read; `last_read` is the length of the last read.
    `pipelined_bytes` is the length of the read in which the last message ended: it may contain a part of the next head.
    """

    last_read = 0
    non_body_bytes = 0
    pipelined_bytes = 0

    def connection_made(self, transport: Any) -> None:
        self.parser = self.new_parser()
        self.connection_scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "http",
            "root_path": "",
            "client": remote_address(transport),
            "server": local_address(transport),
            "state": self.app_state,
        }
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        del self.parser  # breaks a reference cycle

    def new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # skip it, instead of raising an error
        return parser

    def data_received(self, data: bytes) -> None:
        if self.state is CLOSING:
            return
        if self.state is DELAYED:
            self.hold(data)
            return
        size = self.last_read = len(data)
        self.non_body_bytes += size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            match error.__context__:
                case RequestRefused() as refused:
                    self.refuse(refused.type)
                case None | httptools.HttpParserError():
                    self.refuse(BAD_REQUEST)
                case _:
                    raise
            return
        else:
            if self.non_body_bytes > self.limits.head_bytes and self.state is not CLOSING:
                self.refuse(HEADERS_TOO_LARGE)
            return
        # Java's HttpClient sends an Upgrade header to request HTTP/2. The parser then stops after the head, because the
        # rest could be another protocol. The request is parsed again without its Upgrade header.
        head = without_upgrade(self.parser, self.url, self.headers)
        self.parser = self.new_parser()
        self.non_body_bytes = 0
        self.data_received(head + rest)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.state, self.state_since = HEAD, self.loop.time()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))  # the parser strips only leading spaces

    def on_headers_complete(self) -> None:
        parser, limits = self.parser, self.limits
        if parser.should_upgrade() and parser.get_method() != b"CONNECT":
            return  # data_received() parses it again without the Upgrade header
        # The headers are measured only if the number of bytes read allows a head over the limit.
        may_exceed = self.pipelined_bytes + self.non_body_bytes + self.last_read > limits.head_bytes
        size_limit = limits.head_bytes if may_exceed else None
        scope, waiting_for_100_continue = read_head(parser, self.url, self.headers, size_limit, self.connection_scope)
        if len(self.pipeline) >= limits.pipelined_requests:
            raise RequestRefused(OVERLOADED)
        if self.is_over_limit and scope["path"] not in self.edge.exempt_paths:
            raise RequestRefused(OVERLOADED)
        self.non_body_bytes = 0
        self.state, self.state_since = BODY, self.loop.time()
        self.flow.read_paused_seconds = 0.0
        keeps_alive = scope["http_version"] == "1.1" and parser.should_keep_alive()
        self.enqueue(
            Cycle(
                scope,
                self.transport,
                self.flow,
                self.edge,
                self.server_state,
                self.on_response_complete,
                self.pipeline,
                keep_alive=keeps_alive and not self.is_over_limit,
                waiting_for_100_continue=waiting_for_100_continue,
            )
        )

    def on_body(self, body: bytes) -> None:
        # Twice: framing counts only if it is longer than the content, as in chunks of fewer than five bytes.
        size = len(body)
        self.non_body_bytes -= min(2 * size, self.non_body_bytes)
        cycle = self.cycle
        if cycle.response_complete or cycle.refused:
            return
        cycle.body += body
        cycle.received_bytes += size
        edge = self.edge
        edge.body_bytes += size
        if edge.body_bytes > self.limits.total_body_bytes:
            self.refuse_largest_bodies()
        if len(cycle.body) > self.limits.buffered_body_bytes:
            self.flow.pause_reading()
        cycle.wake_receive()

    def on_message_complete(self) -> None:
        if self.state is BODY:  # not after the head of an upgrade
            self.non_body_bytes = 0
            self.pipelined_bytes = self.last_read
            self.cycle.more_body = False
            self.cycle.wake_receive()
            self.state, self.state_since = IDLE, self.loop.time()
