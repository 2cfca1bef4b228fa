"""What all connections of one process share."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from service.api.problems import Headers
from service.edge.limits import Limits, RateLimiter

RequestHeaders = list[tuple[bytes, bytes]]


def no_headers(_: RequestHeaders) -> Headers:
    return ()


class EdgeState:
    """The limits, and the state that they need. The lifespan hands it to the connections as `state["edge"]`.

    `exempt_paths` are answered past the limit of connections too. `refusal_headers` returns what a response of the
    edge's own needs besides, given the headers of the request (CORS).
    """

    def __init__(
        self,
        limits: Limits,
        refused: Counter[int],
        exempt_paths: Collection[str] = (),
        refusal_headers: Callable[[RequestHeaders], Headers] = no_headers,
    ) -> None:
        self.limits = limits
        self.refused = refused
        """Responses that the edge gave without the application, by status."""
        self.exempt_paths = frozenset(exempt_paths)
        self.refusal_headers = refusal_headers
        self.draining = False
        """The server will stop: each response closes its connection."""
        self.stopping = False
        """The server accepts no connections any more: a connection is closed when it is idle."""
        self.unavailable = RateLimiter(limits.unavailable_rate, limits.delay_seconds)
        self.excess: dict[Any, None] = {}
        """The connections past the limit, the oldest first."""
        self.body_bytes = 0
        """Bytes of the request bodies whose responses are not complete."""
