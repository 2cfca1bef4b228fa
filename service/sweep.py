"""Looking again and again at those who wait, for as long as somebody does."""

import asyncio
from collections.abc import Callable

SWEEP_SECONDS = 0.05
"""Between two looks: no one waits longer than this beyond a deadline. A timer for each who waits would take 2 us."""


class Sweep:
    """Calls `look` every SWEEP_SECONDS from begin() on, until it says that nobody waits any more."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._under_way = False

    def begin(self) -> None:
        """Looks from now on, if it is not so already."""
        if not self._under_way:
            self._under_way = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._again)

    def _again(self) -> None:
        self._under_way = False
        if self._look():
            self.begin()
