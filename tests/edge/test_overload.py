"""The HTTP edge with more connections, 503 responses and body bytes than its limits."""

from collections.abc import Iterator

import pytest

from service.edge.limits import Limits
from tests.edge.serving import LIMIT, Edge, edge
from tests.edge.test_protocol import PING, SHORT_TIMEOUTS, assert_refused
from tests.serving import until
from tests.wire import request

PROBE = request("GET", "/livez")
UNAVAILABLE = request("GET", "/unavailable")


@pytest.fixture
def served() -> Iterator[Edge]:
    with edge() as running:
        yield running


# Connections


def test_connections_over_the_limit_are_503() -> None:
    with edge(Limits(connections=2)) as limited, limited.wire() as one, limited.wire() as two:
        assert [wire.send(PING).answer().status for wire in (one, two)] == [200, 200]
        with limited.wire() as three:
            three.send(PING)
            answer = three.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.problem_detail()
            assert three.rest() == b""
            assert [wire.send(PING).answer().status for wire in (one, two)] == [200, 200]
        until(lambda: limited.connections == 2)
        one.__exit__()
        until(lambda: limited.connections == 1)
        with limited.wire() as four:
            assert four.send(PING).answer().status == 200
    assert limited.seen == ["GET /ping"] * 5


def test_probe_is_answered_over_the_limit_of_connections() -> None:
    with edge(Limits(connections=1), exempt_paths=["/livez"]) as limited, limited.wire() as one:
        assert one.send(PING).answer().status == 200
        for _ in range(5):
            with limited.wire() as two:
                answer = two.send(PROBE).answer()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert two.rest() == b""


def test_connection_over_the_limit_that_sends_nothing_is_503() -> None:
    with edge(Limits(connections=1, over_limit_seconds=0.1)) as limited, limited.wire() as one:
        assert one.send(PING).answer().status == 200
        with limited.wire() as silent:
            assert_refused(silent, 503)


def test_oldest_connection_over_the_limit_is_closed_for_a_probe() -> None:
    with edge(Limits(connections=3), exempt_paths=["/livez"]) as limited:
        regular = [limited.wire() for _ in range(3)]
        assert {wire.send(PING).answer().status for wire in regular} == {200}
        silent = [limited.wire() for _ in range(20)]
        with limited.wire() as probe:
            assert probe.send(PROBE).answer().status == 200
        until(lambda: limited.connections <= 6)
        for wire in silent[:10]:
            assert wire.rest() == b""
        for wire in regular + silent:
            wire.close()


# Delays after a 503


def test_connection_is_read_again_after_the_delay_that_follows_a_503() -> None:
    with edge(Limits(unavailable_rate=50)) as served, served.wire() as wire:
        for _ in range(10):
            assert wire.send(request("GET", "/unavailable")).answer().status == 503
        assert wire.send(PING).answer().status == 200


def test_delay_after_a_503_is_the_connections_own() -> None:
    limits = Limits(unavailable_rate=0.001)
    with edge(limits) as served, served.wire() as refused, served.wire() as other:
        assert refused.send(request("GET", "/unavailable")).answer().status == 503
        refused.send(request("GET", "/early"))
        for _ in range(3):
            assert other.send(PING).answer().status == 200
        assert served.seen == ["GET /unavailable", *["GET /ping"] * 3]
        served.shutdown().result()


def test_delay_after_a_503_is_bounded() -> None:
    with edge(Limits(unavailable_rate=0.001, delay_seconds=0.05)) as served, served.wire() as wire:
        for _ in range(5):
            assert wire.send(UNAVAILABLE).answer().status == 503
        assert wire.send(PING).answer().status == 200


def test_connection_that_ends_in_its_delay_is_closed_at_once() -> None:
    with edge(Limits(unavailable_rate=0.001, delay_seconds=1000)) as served:
        with served.wire() as wire:
            assert wire.send(UNAVAILABLE).answer().status == 503
        until(lambda: not served.connections)


def test_requests_that_arrive_in_a_delay_are_answered_after_it() -> None:
    limits = Limits(unavailable_rate=0.001, delay_seconds=0.3, buffered_body_bytes=1000)
    with edge(limits) as served, served.wire() as wire:
        assert wire.send(UNAVAILABLE).answer().status == 503
        wire.send(b"".join(request("GET", f"/{n}") for n in range(80)))  # more than the buffer of a delay
        assert [wire.answer().body for _ in range(80)] == [b"/%d" % n for n in range(80)]


def test_request_before_a_half_close_is_answered_in_the_delay() -> None:
    with edge(Limits(unavailable_rate=0.001, delay_seconds=1000)) as served, served.wire() as wire:
        assert wire.send(UNAVAILABLE).answer().status == 503
        wire.send(PING).half_close()
        assert wire.answer().body == b"/ping"
        assert wire.rest() == b""


# Bodies


def unfinished(size: int) -> bytes:
    return request("POST", "/echo", f"Content-Length: {size + 1}", body=b"x" * size)


def test_largest_body_is_503_over_the_limit_of_all_bodies() -> None:
    with edge(Limits(total_body_bytes=100_000)) as served, served.wire() as large, served.wire() as small:
        large.send(unfinished(90_000))
        until(lambda: served.state.body_bytes == 90_000)
        assert small.send(request("POST", "/echo", body=b"x" * 11_000)).answer().status == 200
        assert_refused(large, 503)
        assert served.state.body_bytes == 0


def test_bodies_are_refused_until_the_rest_fits() -> None:
    with edge(Limits(total_body_bytes=200_000)) as served:
        wires = [served.wire().send(unfinished(15_000)) for _ in range(50)]
        until(lambda: len(served.seen) == 50)
        assert 100_000 < served.state.body_bytes <= 200_000
        kept = served.state.body_bytes // 15_000
        statuses = [wire.send(b"x").answer().status for wire in wires]
        assert (statuses.count(200), statuses.count(503)) == (kept, 50 - kept)
        for wire in wires:
            wire.close()
        until(lambda: served.state.body_bytes == 0)


@pytest.mark.parametrize("path", ["/echo", "/early", "/held", "/broken"])
def test_bodies_of_ended_requests_do_not_count(path: str) -> None:
    with edge(Limits(total_body_bytes=100_000)) as served:
        for _ in range(5):
            with served.wire() as wire:
                wire.send(request("POST", path, f"Content-Length: {LIMIT}", body=b"x" * 60_000))
                until(lambda: served.seen)
            until(lambda: not served.connections)
            served.seen.clear()
        assert served.state.body_bytes == 0
        with served.wire() as wire:
            assert wire.send(request("POST", "/echo", body=b"x" * 90_000)).answer().status == 200


def test_body_may_take_longer_while_the_edge_does_not_read_it() -> None:
    limits = Limits(head_seconds=0.1, body_seconds=0.5, buffered_body_bytes=1000)
    with edge(limits) as served, served.wire() as wire:
        wire.send(request("POST", "/held/echo", "Content-Length: 50001", body=b"x" * 50_000))
        wire.wait_silent(1)
        served.release()
        wire.wait_silent(0.2)  # the time until `release` does not count
        assert len(wire.send(b"x").answer().body) == 50_001


# Refusals

ORIGIN = "Origin: https://app.example"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET", "/ping", ORIGIN, "X: " + "x" * 20_000), 431),
        (request("GET", "/ping", ORIGIN, "Transfer-Encoding: x"), 400),
        (request("GET", "/ping", ORIGIN, "X: y")[:-3], 408),
        (request("GET", "/broken", ORIGIN), 500),
    ],
)
def test_refusal_without_the_application_has_its_cors_headers(sent: bytes, status: int) -> None:
    with edge(SHORT_TIMEOUTS, cors=True) as served, served.wire() as wire:
        answer = wire.send(sent).answer()
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_refusal_over_the_limit_of_connections_has_the_cors_headers() -> None:
    with edge(Limits(connections=1), cors=True) as served, served.wire() as one:
        assert one.send(PING).answer().status == 200
        with served.wire() as two:
            answer = two.send(request("GET", "/ping", ORIGIN)).answer()
            assert answer.status == 503
            assert answer.headers["access-control-allow-origin"] == "https://app.example"


def beginning(size: int) -> bytes:
    """The first bytes of a head that has no end."""
    return (b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size)[:size]


@pytest.mark.parametrize("pieces", [[55_000, 5_000], [20_000, 100], [60_000, 1], [10_000] * 6, [16_000, 400]])
def test_head_over_16_kib_is_431_when_it_begins_behind_another_request(served: Edge, pieces: list[int]) -> None:
    with served.wire() as wire:
        wire.send(PING + beginning(pieces[0]))
        assert wire.answer().status == 200
        for size in pieces[1:]:
            wire.send(b"x" * size)
        wire.send(b"\r\n\r\n")
        assert_refused(wire, 431)


def test_head_of_16_kib_is_read_behind_another_request(served: Edge) -> None:
    with served.wire() as wire:
        wire.send(request("POST", "/echo", body=b"x" * 60_000) + beginning(16_000))
        assert wire.answer().status == 200
        assert wire.send(b"\r\n\r\n").answer().status == 200
