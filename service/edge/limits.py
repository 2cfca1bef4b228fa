"""The limits of the edge, and the rate limiter of 503 responses. Times are in seconds."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of connections and requests. All connections of a process share one instance."""

    connections: int = 10_000
    """Open connections. As many more may send one request each: a probe is answered, another request gets 503."""

    head_bytes: int = 16 * 1024
    """Request line and headers, without spaces around the values. A larger head gets 431."""

    buffered_body_bytes: int = 64 * 1024
    """Bytes of a request body that are read before the application calls receive()."""

    total_body_bytes: int = 32 * 1024 * 1024
    """Bytes of all request bodies in one process. Above it, the largest bodies that are being received get 503."""

    pipelined_requests: int = 100
    """Requests of one connection that wait for the response before them. A further request gets 503."""

    unsent_bytes: int = 128 * 1024
    """Unsent bytes in the kernel's send buffer. The kernel's default is 3 MB, which is 1.5 GB for 500 slow clients."""

    head_seconds: float = 5.0
    """From the first byte of a request to the end of its headers. A slower request gets 408."""

    body_seconds: float = 10.0
    """From the end of the headers to the end of the body. A slower request gets 408."""

    idle_seconds: float = 75.0
    """Between two requests. Longer than the limit of most load balancers, so that the balancer closes first."""

    read_seconds: float = 30.0
    """Disconnect a client that reads nothing of a response for this long."""

    linger_seconds: float = 3.0
    """From the last response to the end of the connection, if the client does not close it before."""

    over_limit_seconds: float = 1.0
    """For the request of a connection over `connections`. A slower request gets 503."""

    drain_seconds: float = 0.1
    """At a stop of all processes: before the listening sockets are closed. At each stop: before idle connections are.

    In this time the service accepts connections, and reads requests, that are already on the way.
    """

    unavailable_rate: float = 1000
    """503 responses per second in one process. Above it, a connection is delayed after a 503, up to `delay_seconds`.

    A 503 costs 60 us and a create costs 95 us. Without the delay, when 1,500 clients retry at once, successful
    requests get only 9 % of the throughput.
    """

    delay_seconds: float = 1.0
    """The longest delay after a 503."""


class RateLimiter:
    """Allows `rate` slots per second, by the generic cell rate algorithm (ITU-T I.371)."""

    BURST_SECONDS = 0.1
    """The unused slots of this time may be reserved at once."""

    def __init__(self, rate: float, max_wait: float) -> None:
        self._interval = 1 / rate
        self._max_wait = max_wait
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Reserve the next slot and return the seconds until it: 0 or less if it is free now.

        If the next slot is more than `max_wait` away, return `max_wait` without reserving a slot. Otherwise the waits
        of later callers would grow without a limit.
        """
        self._next = min(max(now - self.BURST_SECONDS, self._next) + self._interval, now + self._max_wait)
        return self._next - now
