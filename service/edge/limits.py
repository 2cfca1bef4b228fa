"""A steady pace, for what must not take all of the processor however much of it is asked for."""

BURST_SECONDS = 0.1
"""What was not used is saved up for so long."""


class Pace:
    """Turns at `rate` a second, with the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._next = 0.0

    def take(self, now: float) -> float:
        """Takes a turn, and gives the seconds until it comes; not more than 0 for one that has come."""
        self._next = max(now - BURST_SECONDS, self._next) + self._gap
        return self._next - now
