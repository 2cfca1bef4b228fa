"""What all connections of one process share."""

from collections import Counter

from service.edge.limits import Limits, RateLimiter


class EdgeState:
    """The limits, and the counters that they need. The lifespan hands it to the connections as `state["edge"]`."""

    def __init__(self, limits: Limits, refused: Counter[int]) -> None:
        self.limits = limits
        self.refused = refused
        """Responses that the edge gave without the application, by status."""
        self.unavailable = RateLimiter(limits.unavailable_rate)
