"""The state that all connections of one process share."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from service.api.problems import Headers
from service.edge.limits import Limits, RateLimiter

RequestHeaders = list[tuple[bytes, bytes]]


def no_headers(_: RequestHeaders) -> Headers:
    return ()


class EdgeState:
    """The limits, and the state that they need. Connections get it from the lifespan as `state["edge"]`.

    `exempt_paths` are answered on connections over the limit too. `refusal_headers` returns the additional headers of a
    response that the edge makes itself, from the headers of the request (CORS).
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
        """Counts, by status, the responses that the edge made without the application."""
        self.exempt_paths = frozenset(exempt_paths)
        self.refusal_headers = refusal_headers
        self.draining = False
        """The server will stop soon: each response closes its connection."""
        self.stopping = False
        """The server is stopping: a connection is closed when it is idle."""
        self.unavailable = RateLimiter(limits.unavailable_rate, limits.delay_seconds)
        self.over_limit: dict[Any, None] = {}
        """The connections over the limit, the oldest first."""
        self.body_bytes = 0
        """The received body bytes of all requests whose responses are not complete."""
