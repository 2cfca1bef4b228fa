"""The limits of the edge, and the rate limiter that one of them needs. Times are in seconds."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every limit of a connection. One instance is shared by all connections of a process."""

    connections: int = 10_000
    """Open connections. As many more are read for one request: a probe is answered, another request is 503."""

    head_bytes: int = 16 * 1024
    """Request line and headers, without blanks around a value; a larger head is answered with 431."""

    buffered_body_bytes: int = 64 * 1024
    """Bytes of a request body that are read before the application asks for them."""

    total_body_bytes: int = 32 * 1024 * 1024
    """Bytes of request bodies in one process. Past it the largest bodies that are arriving are answered with 503."""

    pipelined_requests: int = 100
    """Requests of one connection that wait behind another; the next is answered with 503."""

    unsent_bytes: int = 128 * 1024
    """Bytes of a response in the kernel's send buffer. The kernel's default is 3 MB: 1.5 GB for 500 slow readers."""

    head_seconds: float = 5.0
    """From the first byte of a request to the end of its headers; a slower one is answered with 408."""

    body_seconds: float = 10.0
    """From the end of the headers to the end of the body; a slower one is answered with 408."""

    idle_seconds: float = 75.0
    """Between two requests. Longer than most balancers' limit, so that the balancer closes first."""

    read_seconds: float = 30.0
    """Disconnect a client that reads nothing of a response for this long."""

    linger_seconds: float = 3.0
    """From the last response until the client must have closed the connection."""

    excess_seconds: float = 1.0
    """For the request of a connection past `connections`; then it is answered with 503."""

    drain_seconds: float = 0.1
    """From a stop of all processes until the listening sockets are closed, and from then until idle connections are.

    Connections and requests that clients began before still arrive.
    """

    unavailable_rate: float = 1000
    """503 responses a second in one process; past it the next request of a connection that got one is delayed.

    A delay is at most `delay_seconds`.

    A 503 costs 60 us where a create costs 95 us: without the delay, 1,500 clients that retry at once leave 9 % of the
    throughput to the requests that succeed.
    """

    delay_seconds: float = 1.0
    """The longest such delay."""


class RateLimiter:
    """Slots at `rate` a second, by the generic cell rate algorithm (ITU-T I.371)."""

    BURST_SECONDS = 0.1
    """Unused slots of this long may be taken at once."""

    def __init__(self, rate: float, max_wait: float) -> None:
        self._interval = 1 / rate
        self._max_wait = max_wait
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Reserve the next slot. Return the seconds until it, 0 or less for one that is free now.

        When the next slot is further away than `max_wait`, that is returned, and no slot is reserved: what waits now
        must not make later callers wait longer.
        """
        self._next = min(max(now - self.BURST_SECONDS, self._next) + self._interval, now + self._max_wait)
        return self._next - now
