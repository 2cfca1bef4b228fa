"""Counts refused tokens by reason, and logs them at a bounded rate."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from service.auth.errors import InvalidToken, TokenTooLarge

logger = logging.getLogger("service.auth")

LOG_SECONDS = 10.0
"""Each reason is logged at `info` at most once per LOG_SECONDS, and otherwise at `debug`."""


class RefusalLog:
    """Counts refused tokens. The keys of `counts` are the keys of REASONS, `too_large` and `keys_unavailable`."""

    def __init__(self, log_seconds: float = LOG_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._log_seconds = log_seconds
        self._clock = clock
        self._next_line: defaultdict[str, float] = defaultdict(float)
        self._logged: Counter[str] = Counter()

    def note(self, error: Exception) -> None:
        """Count and log a refusal. The log line quotes no part of the token."""
        if isinstance(error, InvalidToken):
            reason, message = error.reason, str(error)
        elif isinstance(error, TokenTooLarge):
            reason, message = "too_large", "it is longer than MAX_TOKEN_BYTES"
        else:
            reason, message = "keys_unavailable", "the issuer's key set could not be read"
        self.counts[reason] += 1
        if (now := self._clock()) < self._next_line[reason]:
            logger.debug("A token is refused, %s: %s", reason, message)
            return
        self._next_line[reason] = now + self._log_seconds
        number = self.counts[reason] - self._logged[reason]
        self._logged[reason] = self.counts[reason]
        logger.info("A token is refused, %s: %s (%d since the last such line)", reason, message, number)
