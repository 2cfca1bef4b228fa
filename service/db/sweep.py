"""Looking soon at those who wait."""

import asyncio
from collections.abc import Callable

SWEEP_SECONDS = 0.05
"""Until the look: no one waits longer than this beyond a deadline. A timer for each who waits would take 2 us."""


class Sweep:
    """Calls `look` once, SWEEP_SECONDS after begin(). `look` begins anew for those who still wait."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._under_way = False

    def begin(self) -> None:
        """Has a look coming, if none is."""
        if not self._under_way:
            self._under_way = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._under_way = False
        self._look()
