"""Messages: valid requests with bytes changed, removed and inserted, each on a new connection."""

from hypothesis import strategies as st

from tests.fuzz import examples
from tests.fuzz.bodies import chunked
from tests.fuzz.tally import Tally, assert_promised, documented
from tests.hostile.target import Target
from tests.wire import Wire

PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"%", b"\xff", b"\r\n\r\n", b"0\r\n\r\n"),
    *(b"HTTP/1.0", b"GET / HTTP/1.1\r\n", b"Host: y\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
    b"X: " + b"x" * 9000 + b"\r\n",
]


@st.composite
def mangled(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Up to three requests, one after the other, with up to four changes."""
    data = b"".join(draw(st.lists(st.sampled_from(good), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from([0, 1, 2, 20, 200]))
        data = data[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=3)) + data[end:]
    return data


def fuzz(target: Target, tally: Tally, cases: int, seed: int) -> None:
    """Send each message. The expected response is unknown, but each response is documented, and the connection ends."""
    allowed = documented(target)[""] | {100}
    body = b'{"title": "x"}'
    good = [
        target.authorized("GET", f"{target.tasks}?limit=1"),
        target.authorized("GET", target.task),
        target.authorized("POST", target.tasks, body=body),
        target.authorized("POST", target.tasks, "Transfer-Encoding: chunked", body=chunked(body, 7)),
        target.authorized("PUT", target.task, "Expect: 100-continue", body=body),
        target.authorized("PATCH", target.task + "/complete"),
    ]

    def attempt(message: bytes) -> None:
        with Wire(target.address) as wire:
            wire.send(message).half_close()
            while not wire.ended():
                answer = wire.answer()
                tally.statuses[answer.status] += 1
                assert_promised(answer, allowed)

    examples.run(tally, mangled(good), attempt, cases, seed)
