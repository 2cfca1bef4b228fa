"""The HTTP edge: its limits, the order of responses, and that no other bytes are parsed as a request."""

import gc
import resource
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from service.edge.connection import HTTPConnection
from service.edge.limits import Limits
from tests.edge.serving import DEFAULTS, LARGE, LIMIT, Edge, edge
from tests.serving import until
from tests.wire import Wire, request

HOST = b"Host: tasks.example\r\n"
PING = request("GET", "/ping")
HEAD_BYTES, PIPELINED = DEFAULTS.head_bytes, DEFAULTS.pipelined_requests


@pytest.fixture
def served() -> Iterator[Edge]:
    with edge() as running:
        yield running


SHORT_TIMEOUTS = Limits(head_seconds=0.1, body_seconds=0.1, linger_seconds=0.1)


@pytest.fixture
def short_timeouts() -> Iterator[Edge]:
    """The edge with timeouts that pass during a test."""
    with edge(SHORT_TIMEOUTS) as running:
        yield running


def assert_refused(wire: Wire, status: int) -> None:
    """Check that the next response is a refusal, and that it is the last response."""
    answer = wire.answer()
    assert (answer.status, answer.headers.get("connection")) == (status, "close")
    assert answer.problem_detail()
    assert wire.rest() == b""


# ---------------------------------------------------------------------------------------------- sizes


def test_head_of_16_kib_is_read(served: Edge) -> None:
    with served.wire() as wire:
        for _ in range(2):
            wire.send(request("GET", "/ping", "X: " + "x" * (HEAD_BYTES - 100)))
            assert wire.answer().status == 200


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(request("GET", "/ping", "X: " + "x" * HEAD_BYTES), id="a long value"),
        pytest.param(request("GET", "/ping", "X" * HEAD_BYTES + ": x"), id="a long name"),
        pytest.param(request("GET", "/" + "x" * HEAD_BYTES), id="a long address"),
        pytest.param(request("GET", "/ping", *(f"X{n}: y" for n in range(20_000))), id="20,000 headers"),
        pytest.param(request("GET", "/ping", "X: " + "x" * 10_000_000), id="10 MB"),
        pytest.param(b"GET /ping HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES, id="without an end"),
        pytest.param(b"GET /" + b"x" * 10_000_000, id="10 MB without an end"),
        pytest.param(b"\r\n" * HEAD_BYTES, id="empty lines"),
    ],
)
@pytest.mark.parametrize("before", [[], [PING], [request("POST", "/echo", body=b"x" * 50_000)]])
def test_head_over_16_kib_is_431(served: Edge, before: list[bytes], head: bytes) -> None:
    with served.wire() as wire:
        for earlier in before:
            assert wire.send(earlier).answer().status == 200
        wire.send(head)
        assert_refused(wire, 431)
    assert len(served.seen) == len(before)


def test_head_over_16_kib_is_431_behind_a_request_in_the_same_read(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(PING + request("GET", "/ping", "X: " + "x" * HEAD_BYTES))
        assert wire.answer().status == 200
        assert_refused(wire, 431)


def test_head_over_16_kib_in_pieces_is_431(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(b"GET /ping HTTP/1.1\r\n")
        for number in range(17):
            wire.send(b"X%d: %b\r\n" % (number, b"x" * 1020))
        assert_refused(wire, 431)


def test_head_is_measured_without_the_data_before_it(served: Edge) -> None:
    body = b"x" * 60_000
    whole = request("POST", "/echo", body=body) + PING
    with served.wire() as wire:
        for cut in (len(whole) - 5, len(whole) - len(PING) + 5):
            wire.send(whole[:cut])
            assert wire.answer().body == body
            wire.send(whole[cut:])
            assert wire.answer().body == b"/ping"


@pytest.mark.parametrize("header", ["Content-Length: 40000000", "Transfer-Encoding: chunked"])
def test_body_over_the_limit_is_413_although_it_is_sent_whole(served: Edge, header: str) -> None:
    with served.wire() as wire:
        wire.send(request("POST", "/echo", header))
        for _ in range(1000):
            wire.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert_refused(wire, 413)


def test_body_at_the_limit_is_read(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("POST", "/echo", "Transfer-Encoding: chunked"))
        for _ in range(LIMIT // 1000):
            wire.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        wire.send(b"0\r\n\r\n")
        assert len(wire.answer().body) == LIMIT


CHUNKED = request("POST", "/echo", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"0\r\nX: " + b"x" * HEAD_BYTES, id="a trailer without an end"),
        pytest.param(b"0\r\n" + b"X: x\r\n" * 4000, id="trailers without an end"),
        pytest.param(b"1\r\nx\r\n" * 50_000, id="chunks of one byte"),
        pytest.param(b"1;" + b"x" * 100_000, id="an extension without an end"),
    ],
)
def test_body_with_more_framing_than_content_is_431(served: Edge, rest: bytes) -> None:
    with served.wire() as wire:
        wire.send(CHUNKED)
        until(lambda: served.seen)  # otherwise head and body might arrive in one read
        wire.send(rest)
        assert_refused(wire, 431)


def test_body_in_small_chunks_is_read(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(CHUNKED + b"7;why=not\r\ncontent\r\n" + b"6\r\nsmalls\r\n" * 10_000 + b"0\r\nX: y\r\n\r\n" + PING)
        assert len(wire.answer().body) == 60_007
        assert wire.answer().body == b"/ping"


def test_trailers_are_not_headers(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("POST", "/headers", "Transfer-Encoding: chunked"))
        wire.send(b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\nHost: elsewhere.example\r\n\r\n")
        assert wire.answer().body == b'["host","transfer-encoding"]'


def test_refusals_are_counted_by_status() -> None:
    with (
        edge(msgspec.structs.replace(SHORT_TIMEOUTS, connections=2)) as limited,
        limited.wire() as one,
        limited.wire() as two,
        limited.wire() as three,
    ):
        assert_refused(three.send(PING), 503)
        assert one.send(PING).answer().status == 200
        assert_refused(one.send(b"no request\r\n\r\n"), 400)
        assert_refused(two.send(b"GET /half"), 408)
        three.__exit__()
        until(lambda: limited.connections == 0)
        with limited.wire() as four:
            assert_refused(four.send(request("GET", "/ping", "X: " + "x" * HEAD_BYTES)), 431)
        assert limited.application.refused == {503: 1, 400: 1, 408: 1, 431: 1}


# ---------------------------------------------------------------------------------------------- times


def trickle(wire: Wire, data: bytes) -> None:
    """Send one byte at a time until the server responds."""
    wire.socket.settimeout(0.02)
    for byte in data:
        wire.send(bytes([byte]))
        try:
            if wire.socket.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
    wire.socket.settimeout(10)


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        pytest.param(b"", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000, id="head"),
        pytest.param(PING, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000, id="head of the second"),
        pytest.param(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", b"x" * 5000, id="body"),
        pytest.param(CHUNKED, b"1\r\nx\r\n" * 1000, id="chunks"),
        pytest.param(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000, id="trailers"),
        pytest.param(b"GET /", b"", id="nothing more"),
    ],
)
def test_request_that_takes_too_long_is_408(short_timeouts: Edge, start: bytes, rest: bytes) -> None:
    with short_timeouts.wire() as wire:
        wire.send(start)
        if start is PING:
            assert wire.answer().status == 200
        trickle(wire, rest)
        assert_refused(wire, 408)
    until(lambda: not short_timeouts.connections)


def test_body_that_is_not_read_may_not_take_long_either(short_timeouts: Edge) -> None:
    with short_timeouts.wire() as wire:
        wire.send(request("POST", "/early", "Content-Length: 5000", body=b"x"))
        assert wire.answer().status == 401
        assert wire.rest() == b""


def test_idle_connection_is_closed() -> None:
    # head_seconds is also the interval of the watchdog
    limits = Limits(head_seconds=0.1, idle_seconds=0.3)
    with edge(limits) as served, served.wire() as silent, served.wire() as idle:
        assert idle.send(PING).answer().status == 200
        assert silent.rest() == idle.rest() == b""


def test_client_that_reads_nothing_is_disconnected() -> None:
    asked = [
        request("GET", "/large"),
        request("GET", "/large") + PING,  # a pipelined request must not move the deadline
        request("GET", "/large", "Connection: close"),
        request("GET", "/endless"),
        request("POST", "/large", "Transfer-Encoding: chunked") + b"z",  # this is refused
    ]
    with edge(Limits(head_seconds=0.1, read_seconds=0.1)) as served:
        wires = [served.wire(receive_buffer=4096).send(data) for data in asked]
        until(lambda: len(served.seen) >= len(asked))
        until(lambda: not served.connections)
        for wire in wires:
            with wire, pytest.raises((EOFError, ConnectionError)):
                wire.answer()
        until(lambda: served.application.aborted)


def test_client_that_reads_slowly_is_not_disconnected() -> None:
    with edge(Limits(head_seconds=0.1, read_seconds=0.2)) as served, served.wire(receive_buffer=4096) as wire:
        wire.send(request("GET", "/large"))
        assert len(wire.answer().body) == LARGE


def test_response_may_take_longer_than_the_idle_limit() -> None:
    limits = Limits(head_seconds=0.1, idle_seconds=1)
    with edge(limits) as served, served.wire(receive_buffer=65_536) as wire:
        wire.send(request("GET", "/large"))
        read = 0
        while read < LARGE:
            data = wire.socket.recv(LARGE // 250)
            assert data
            read += len(data)
            time.sleep(0.01)


def test_response_is_buffered_only_up_to_a_limit(served: Edge) -> None:
    with served.wire(receive_buffer=4096) as wire:
        wire.send(request("GET", "/endless"))
        until(lambda: served.application.sent_bytes)
        time.sleep(0.3)
        assert served.application.sent_bytes < 500_000


def test_500_slow_senders_and_500_slow_readers_do_not_block_other_clients() -> None:
    many = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    with edge(Limits(head_seconds=4, read_seconds=4)) as served:
        with ExitStack() as crowd:
            readers = [crowd.enter_context(served.wire(receive_buffer=4096)) for _ in range(500)]
            for reader in readers:
                reader.send(request("GET", "/endless"))
            senders = [crowd.enter_context(served.wire()).send(b"GET /never HT") for _ in range(500)]
            until(lambda: len(served.seen) == 500)
            for _ in range(100):
                with served.wire() as other:
                    assert other.send(PING).answer().status == 200
            assert served.connections >= 1000
            for sender in senders:
                assert_refused(sender, 408)
            until(lambda: served.application.aborted == 500)
        until(lambda: not served.connections)


def test_whole_response_waits_until_the_client_has_read_the_one_before_it(served: Edge) -> None:
    with served.wire(receive_buffer=4096) as wire:
        wire.send(request("GET", "/large") * 3)
        until(lambda: len(served.seen) == 2)
        time.sleep(0.1)
        assert len(served.seen) == 2
        assert [len(wire.answer().body) for _ in range(3)] == [LARGE] * 3


def test_middleware_sees_the_messages_of_a_whole_response(served: Edge) -> None:
    served.application.has_middleware = True
    with served.wire() as wire:
        assert wire.send(PING).answer().body == b"/ping"

    assert served.application.messages == ["http.response.start", "http.response.body"]


# ---------------------------------------------------------------------------------------------- order of responses


def test_pipelined_requests_are_answered_in_order(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(b"".join(request("GET", f"/{n}") for n in range(100)))
        assert [wire.answer().body for _ in range(100)] == [b"/%d" % n for n in range(100)]


@pytest.mark.parametrize("has_middleware", [False, True])
def test_pipelined_requests_of_all_kinds_keep_their_answers(served: Edge, has_middleware: bool) -> None:
    served.application.has_middleware = has_middleware
    with served.wire() as wire:
        wire.send(
            request("GET", "/held")
            + request("POST", "/echo", body=b"body")
            + request("HEAD", "/ping")
            + request("HEAD", "/pieces")
            + request("GET", "/nothing")
            + request("GET", "/ping", body=b"GET /never HTTP/1.1\r\n\r\n")
            + request("GET", "/pieces")
            + CHUNKED
            + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
            + request("GET", "/last", "Connection: close")
            + request("GET", "/never")
        )
        until(lambda: served.seen)
        served.release()
        methods = ["GET", "POST", "HEAD", "HEAD", "GET", "GET", "GET", "POST", "GET"]
        answers = [wire.answer(method) for method in methods]
        assert wire.rest() == b""
    bodies = [b"/held", b"body", b"", b"", b"", b"/ping", b"one,two,three", b"onetwo", b"/last"]
    assert [answer.body for answer in answers] == bodies
    assert (answers[2].headers["content-length"], "content-length" in answers[4].headers) == ("5", False)
    assert [answer.headers.get("connection") for answer in answers] == [None] * 8 + ["close"]
    assert "GET /never" not in served.seen


def test_pipelined_requests_beyond_the_limit_are_503(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("GET", "/held") + PING * (PIPELINED + 50))
        until(lambda: served.seen)
        served.release()
        assert [wire.answer().status for _ in range(PIPELINED + 1)] == [200] * (PIPELINED + 1)
        assert_refused(wire, 503)


def test_pipelined_requests_are_not_read_while_earlier_ones_wait(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("GET", "/held") + PING)
        until(lambda: served.seen)
        wire.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.send(PING * 1_000_000)
        assert served.seen == ["GET /held"]


@pytest.mark.parametrize(
    ("behind", "status"),
    [
        pytest.param(b"no request\r\n\r\n", 400, id="no request"),
        pytest.param(b"GET /never HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(CHUNKED + b"no chunk\r\n", 400, id="no chunk"),
        pytest.param(b"GET /nev", 408, id="half a head"),
        pytest.param(request("POST", "/echo", "Content-Length: 9", body=b"half"), 408, id="half a body"),
        pytest.param(request("POST", "/echo", "Content-Length: 900000", body=b"half"), 413, id="too large"),
        pytest.param(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, id="large head"),
    ],
)
@pytest.mark.parametrize("first", ["/held", "/pieces", "/ping"])
def test_refusal_waits_for_the_responses_before_it(
    short_timeouts: Edge, first: str, behind: bytes, status: int
) -> None:
    with short_timeouts.wire() as wire:
        wire.send(request("GET", first) + PING + behind)
        until(lambda: short_timeouts.seen)
        if first == "/held":
            wire.wait_silent(0.2 if status == 408 else 0.01)  # longer than the timeout of the next request
            short_timeouts.release()
        assert [wire.answer().status for _ in range(2)] == [200, 200]
        assert_refused(wire, status)


def test_body_of_a_pipelined_request_has_its_full_time() -> None:
    with edge(Limits(head_seconds=0.1, body_seconds=1)) as served, served.wire() as wire:
        wire.send(request("GET", "/held") + request("POST", "/echo", "Content-Length: 8", body=b"half"))
        wire.wait_silent(1.2)
        served.release()
        assert wire.answer().body == b"/held"
        assert wire.send(b"half").answer().body == b"halfhalf"


# ---------------------------------------------------------------------------------------------- early responses

NEVER = request("GET", "/never")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([request("POST", "/early", body=NEVER)], id="whole"),
        pytest.param([request("POST", "/early", body=NEVER)[:-9], NEVER[-9:]], id="in two"),
        pytest.param([request("POST", "/early", f"Content-Length: {len(NEVER)}"), NEVER], id="head first"),
        pytest.param(
            [request("POST", "/early", "Transfer-Encoding: chunked"), b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEVER), NEVER)],
            id="chunks",
        ),
        pytest.param(
            [request("POST", "/early", "Content-Length: 500000"), NEVER * 5000 + b"x" * (500_000 - 5000 * len(NEVER))],
            id="large",
        ),
    ],
)
def test_body_of_a_refused_request_is_not_a_request(served: Edge, sent: list[bytes]) -> None:
    first, *more = sent
    with served.wire() as wire:
        assert wire.send(first).answer().status == 401
        for data in more:
            wire.send(data)
        assert wire.send(PING).answer().body == b"/ping"
    assert served.seen == ["POST /early", "GET /ping"]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(request("POST", "/echo", "Content-Length: 200000") + NEVER * 3000, id="too large"),
        pytest.param(request("POST", "/early", "Expect: 100-continue", "Content-Length: 99") + NEVER, id="expected"),
        pytest.param(request("GET", "/ping", "Connection: close") + NEVER, id="closed"),
        pytest.param(b"GET /ping HTTP/1.0\r\n\r\n" + NEVER, id="1.0"),
        pytest.param(request("GET", "/broken") + NEVER, id="an error"),
        pytest.param(b"GET /ping HTTP/1.1\r\n\r\n" + NEVER, id="no host"),
    ],
)
def test_data_after_the_last_request_is_not_a_request(served: Edge, sent: bytes) -> None:
    with served.wire() as wire:
        assert wire.send(sent).answer().headers["connection"] == "close"
        wire.send(NEVER)
        assert wire.rest() == b""
    assert "GET /never" not in served.seen


@pytest.mark.parametrize("rest", [b"no chunk\r\n", b"0\r\n" + b"X: y\r\n" * 9000])
def test_body_of_a_refused_request_gets_no_second_answer(served: Edge, rest: bytes) -> None:
    with served.wire() as wire:
        assert wire.send(request("POST", "/early", "Transfer-Encoding: chunked")).answer().status == 401
        wire.send(rest)
        assert wire.rest() == b""


def test_body_that_is_awaited_gets_100_continue(served: Edge) -> None:
    with served.wire() as wire:
        for _ in range(2):
            wire.send(request("POST", "/echo", "Expect: 100-Continue", "Content-Length: 4"))
            assert wire.answer().status == 100
            assert wire.send(b"body").answer().body == b"body"


def test_body_that_is_refused_gets_no_100_continue(short_timeouts: Edge) -> None:
    with short_timeouts.wire() as wire:
        wire.send(request("POST", "/held/echo", "Expect: 100-continue", "Content-Length: 4"))
        time.sleep(0.5)  # longer than body_seconds
        short_timeouts.release()
        assert_refused(wire, 408)


def test_body_wakes_every_receive(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("POST", "/twice", "Content-Length: 2"))
        until(lambda: served.seen == ["POST /twice"])
        time.sleep(0.1)  # until both calls of receive() wait
        assert wire.send(b"xy").answer().status == 200


def test_request_without_a_body_gets_no_100_continue(served: Edge) -> None:
    with served.wire() as wire:
        assert wire.send(request("GET", "/ping", "Expect: 100-continue")).answer().status == 200


# ---------------------------------------------------------------------------------------------- other versions


@pytest.mark.parametrize("has_middleware", [False, True])
def test_http_1_0_is_answered_without_chunks_and_closed(served: Edge, has_middleware: bool) -> None:
    served.application.has_middleware = has_middleware
    with served.wire() as wire:
        answer = wire.send(b"GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
        assert (answer.body, answer.headers["connection"]) == (b"one,two,three", "close")
        assert "transfer-encoding" not in answer.headers
    with served.wire() as wire:
        wire.send(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        assert wire.answer().body == b"body"


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([request("POST", "/echo", *UPGRADE, body=b"body") + PING], id="at once"),
        pytest.param([request("POST", "/echo", *UPGRADE, "Content-Length: 4"), b"bo", b"dy", PING], id="in pieces"),
        pytest.param(
            [request("POST", "/echo", *UPGRADE, "Transfer-Encoding: chunked"), b"4\r\nbody\r\n0\r\n\r\n" + PING]
        ),
        pytest.param([PING + request("POST", "/echo", *UPGRADE, body=b"body") + PING], id="in between"),
    ],
)
def test_request_for_an_upgrade_is_answered_without(served: Edge, sent: list[bytes]) -> None:
    with served.wire() as wire:
        for data in sent:
            wire.send(data)
        if sent[0].startswith(PING):
            assert wire.answer().body == b"/ping"
        assert wire.answer().body == b"body"
        assert wire.answer().body == b"/ping"


def test_request_for_an_upgrade_must_be_valid_too(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(PING + b"POST /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert wire.answer().body == b"/ping"
        assert_refused(wire, 400)


def test_request_for_a_websocket_is_answered_without(served: Edge) -> None:
    headers = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    with served.wire() as wire:
        assert wire.send(request("GET", "/ping", *headers) * 150).answer().status == 200
        assert [wire.answer().status for _ in range(PIPELINED)] == [200] * PIPELINED


# ---------------------------------------------------------------------------------------------- end of a connection


ECHO = request("POST", "/echo", body=b"body")


@pytest.mark.parametrize(
    ("behind", "statuses"),
    [
        (b"", [200]),
        (b"GET /half", [200]),
        (b"no request", [200]),
        (PING + b"GET /half", [200, 200]),
        (ECHO + PING, [200, 200, 200]),
        (ECHO + CHUNKED, [200, 200]),
        (CHUNKED, [200]),
    ],
)
def test_half_closed_connection_is_answered(served: Edge, behind: bytes, statuses: list[int]) -> None:
    with served.wire() as wire:
        wire.send(request("GET", "/held") + behind).half_close()
        until(lambda: served.seen)
        served.release()
        assert [wire.answer().status for _ in statuses] == statuses
        assert wire.rest() == b""
    until(lambda: not served.connections)


@pytest.mark.parametrize("sent", [b"", b"GET /half", CHUNKED + b"4\r\nbo", PING[:-2]])
def test_connection_that_ends_within_a_request_is_closed(served: Edge, sent: bytes) -> None:
    with served.wire() as wire:
        assert wire.send(sent).half_close().rest() == b""
    until(lambda: not served.connections)


@pytest.mark.parametrize("pipelined", [b"", PING])
def test_response_stops_when_its_client_disconnects(served: Edge, pipelined: bytes) -> None:
    with served.wire() as wire:
        wire.send(request("GET", "/endless") + pipelined)
        until(lambda: served.seen)
    until(lambda: served.application.aborted)
    assert served.seen == ["GET /endless"]


def test_response_to_head_stops_with_its_head(served: Edge) -> None:
    with served.wire() as wire:
        assert wire.send(request("HEAD", "/endless") + PING).answer("HEAD").headers["transfer-encoding"] == "chunked"
        assert wire.answer().body == b"/ping"
    assert served.application.aborted == 0  # the body was not started


def test_error_of_the_application_is_500(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("GET", "/broken"))
        assert_refused(wire, 500)


def test_application_without_an_answer_is_500(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("GET", "/silent"))
        assert_refused(wire, 500)


@pytest.mark.parametrize("sent", [b"", PING])
def test_connection_that_has_ended_is_freed_without_garbage_collection(
    served: Edge, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[HTTPConnection]] = []
    connection_made = HTTPConnection.connection_made

    def recorded(self: HTTPConnection, transport: Any) -> None:
        made.append(weakref.ref(self))
        connection_made(self, transport)

    monkeypatch.setattr(HTTPConnection, "connection_made", recorded)
    gc.collect()
    gc.disable()
    try:
        with served.wire() as wire:
            if sent:
                wire.send(sent).answer()
        until(lambda: [reference() for reference in made] == [None])
    finally:
        gc.enable()
