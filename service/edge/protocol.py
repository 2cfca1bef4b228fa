"""The HTTP edge, in place of uvicorn's, which has no limits for heads and slow senders (Kludex/uvicorn issue 157).

Here is what callers send; conversation.py takes the turns, cycle.py answers. What uvicorn's server asks of them is no
public interface: they are written for one version of it, and server.py starts with no other.
"""

from typing import Any

import httptools
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from service.api.problems import BAD_REQUEST, HEADERS_TOO_LARGE, OVERLOADED
from service.edge.connection import BETWEEN, BODY, HEAD, NOTHING, Conversation
from service.edge.cycle import Cycle
from service.edge.request_head import HEAD_BYTES, Refused, read_head, without_upgrade

UVICORN = "0.54.0"

BODY_AHEAD = 64 * 1024
"""Bytes of a body that are read before the application asks for them."""

PIPELINED = 100
"""Requests on one connection that may wait for an earlier one's answer; the next is 503."""


class Protocol(Conversation):
    """A conversation in HTTP/1. `last_read` and `overhead` are bytes: read last, and no content of this request."""

    last_read = 0
    overhead = 0

    def connection_made(self, transport: Any) -> None:
        self.parser = self.new_parser()
        self.origin = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "http",
            "root_path": "",
            "client": get_remote_addr(transport),
            "server": get_local_addr(transport),
            "state": self.app_state,
        }
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        del self.parser  # which refers to us too

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    def new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # it is skipped
        return parser

    def data_received(self, data: bytes) -> None:
        if self.stage is NOTHING:
            return
        self.last_read = len(data)
        self.overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            match error.__context__:
                case Refused() as refused:
                    self.refuse(refused.type)
                case None | httptools.HttpParserError():
                    self.refuse(BAD_REQUEST)
                case _:
                    raise
            return
        else:
            if self.overhead > HEAD_BYTES:
                self.refuse(HEADERS_TOO_LARGE)
            return
        # Java's HttpClient asks for HTTP/2 like this. The parser leaves out what has the form of another protocol, but
        # is this request's body: it is read anew, as a request that asks for no upgrade.
        plain = without_upgrade(self.parser, self.url, self.headers)
        self.parser = self.new_parser()
        self.overhead = 0
        self.data_received(plain + rest)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.hesitant = False  # Expect: 100-continue
        self.stage, self.since = HEAD, self.loop.time()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.hesitant = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # to come again without it
        large = self.overhead + self.last_read > HEAD_BYTES  # or something else in the same read is
        scope = read_head(self.parser, self.url, self.headers, measure=large)
        if len(self.pipeline) >= PIPELINED:
            raise Refused(OVERLOADED)
        self.overhead = 0
        self.stage, self.since = BODY, self.loop.time()
        lasting = scope["http_version"] == "1.1"
        self.take(
            Cycle(
                self,
                self.origin | scope,
                keep_alive=lasting and self.parser.should_keep_alive(),
                hesitant=lasting and self.hesitant,
            )
        )

    def on_body(self, body: bytes) -> None:
        self.overhead = max(self.overhead - 2 * len(body), 0)  # chunks may be as small as six bytes
        if not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > BODY_AHEAD:
                self.flow.pause_reading()
            self.cycle.go_on()

    def on_message_complete(self) -> None:
        if self.stage is BODY:  # and not the head of an upgrade
            self.overhead = 0
            self.cycle.more_body = False
            self.cycle.go_on()
            self.stage, self.since = BETWEEN, self.loop.time()
