"""The HTTP edge at a graceful stop: each response closes its connection, and no request is lost."""

import pytest

from service.edge.limits import Limits
from tests.edge.serving import edge
from tests.edge.test_protocol import PING, assert_refused
from tests.serving import blocked_loop, until
from tests.wire import request


def test_response_while_draining_closes_the_connection() -> None:
    with edge() as served, served.wire() as wire:
        assert "connection" not in wire.send(PING).answer().headers
        served.state.draining = True
        assert wire.send(PING).answer().headers["connection"] == "close"
        assert wire.rest() == b""


def test_last_of_pipelined_responses_closes_the_connection() -> None:
    with edge() as served, served.wire() as wire:
        served.state.draining = True
        wire.send(PING * 50)
        assert [wire.answer().headers.get("connection") for _ in range(50)] == [None] * 49 + ["close"]
        assert wire.rest() == b""


def test_connection_stays_open_between_requests_while_draining() -> None:
    with edge() as served, served.wire() as wire:
        assert wire.send(PING).answer().status == 200
        served.state.draining = True
        wire.wait_silent(0.3)
        assert wire.send(PING).answer().status == 200


@pytest.mark.parametrize("count", [1, 3])
def test_request_sent_before_the_shutdown_is_answered(count: int) -> None:
    with edge() as served, served.wire() as idle, served.wire() as silent:
        assert idle.send(PING).answer().status == 200
        with blocked_loop(served.loop):
            stopping = served.shutdown()
            idle.send(PING * count)
        answers = [idle.answer() for _ in range(count)]
        assert {answer.status for answer in answers} == {200}
        assert idle.rest() == silent.rest() == b""
        idle.close()
        stopping.result(timeout=10)


def test_connections_in_the_queue_of_the_listening_socket_are_answered() -> None:
    with edge() as served:
        with blocked_loop(served.loop):
            stopping = served.shutdown()
            waiting = [served.wire().send(PING) for _ in range(50)]
        for wire in waiting:
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            wire.close()
        stopping.result(timeout=10)


def test_shutdown_waits_for_requests_in_progress() -> None:
    with edge(Limits(linger_seconds=0.1), timeout_graceful_shutdown=10) as served:
        asked = {
            "idle": PING,
            "half": b"GET /half",
            "held": request("GET", "/held"),
            "body": request("POST", "/echo", "Content-Length: 8", body=b"half"),
            "pipelined": request("GET", "/held") + PING,
            "refused": request("POST", "/early", "Expect: 100-continue", "Content-Length: 9"),
        }
        wires = {name: served.wire().send(data) for name, data in asked.items()}
        assert wires["idle"].answer().status == 200
        assert wires["refused"].answer().status == 401
        until(lambda: len(served.seen) == 5)
        stopping = served.shutdown()
        assert [wires[name].rest() for name in ("idle", "half", "refused")] == [b""] * 3
        served.release()
        wires["body"].send(b"half")
        assert wires["pipelined"].answer().body == b"/held"
        for name, body in (("held", b"/held"), ("body", b"halfhalf"), ("pipelined", b"/ping")):
            answer = wires[name].answer()
            assert (answer.body, answer.headers["connection"]) == (body, "close")
            assert wires[name].rest() == b""
        stopping.result(timeout=10)
        for wire in wires.values():
            wire.__exit__()


def test_request_that_outlasts_the_shutdown_is_503() -> None:
    with edge(timeout_graceful_shutdown=0.2) as served, served.wire() as wire:
        wire.send(request("GET", "/held"))
        until(lambda: served.seen)
        served.shutdown().result(timeout=10)
        assert_refused(wire, 503)
