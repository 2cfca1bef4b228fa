"""The HTTP edge: uvicorn's httptools protocol with the limits that it lacks (Kludex/uvicorn issue 157).

Here is what callers send; conversation.py takes the turns, cycle.py answers. All lean on the inside of one version of
uvicorn, and server.py starts with no other.
"""

import httptools

from service.conversation import BETWEEN, BODY, HEAD, NOTHING, Conversation
from service.cycle import Cycle
from service.errors import BAD_REQUEST, HEADERS_TOO_LARGE, OVERLOADED
from service.head import HEAD_BYTES, Refused, read_head, without_upgrade

UVICORN = "0.54.0"

PIPELINED = 100
"""Requests on one connection that may wait for an earlier one's answer; the next is 503."""


class Protocol(Conversation):
    """A conversation in HTTP/1. `last_read` and `overhead` are bytes: read last, and no content of this request."""

    last_read = 0
    overhead = 0

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
                    self.refuse(refused.kind)
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
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does: it is skipped
        self.overhead = 0
        self.data_received(plain + rest)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.enter(HEAD)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # to come again without it
        large = self.overhead + self.last_read > HEAD_BYTES  # or something else in the same read is
        scope = read_head(self.parser, self.url, self.headers, measure=large)
        if len(self.pipeline) >= PIPELINED:
            raise Refused(OVERLOADED)
        self.overhead = 0
        self.enter(BODY)
        self.take(Cycle(self, self.origin | scope, self.answered))

    def on_body(self, body: bytes) -> None:
        self.overhead = max(self.overhead - 2 * len(body), 0)  # chunks may be as small as six bytes
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.stage is BODY:  # and not the head of an upgrade
            self.overhead = 0
            self.cycle.more_body = False
            self.cycle.message_event.set()
            self.enter(BETWEEN)
