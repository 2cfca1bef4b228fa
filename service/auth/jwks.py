"""The issuer's key set: read at start, refreshed, and read again for unknown keys at most once per JWKS_COOLDOWN."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from service.auth.errors import InvalidToken, KeysUnavailable
from service.auth.keys import ALGORITHMS, Key, usable_keys
from service.auth.token import Unverified
from service.settings import Settings, SettingsError

logger = logging.getLogger("service.auth")


class JwksLimits(msgspec.Struct, frozen=True):
    """Bounds of reading a key set. Times are in seconds."""

    document_bytes: int = 1_048_576
    """A larger key set is refused."""
    read: float = 5.0
    """For a whole read, from the resolution of the issuer's name to the last byte."""
    wait: float = 6.0
    """How long a request waits for an unknown key: the default JWKS_COOLDOWN, and a read from a healthy issuer."""
    retry: float = 5.0
    """From a failed read to the next one, unless JWKS_REFRESH is shorter."""


LIMITS = JwksLimits()


class KeySet:
    """The issuer's public keys, read from JWKS_URL or JWKS_FILE by one task, one read at a time.

    The keys of the last successful read are kept while the issuer is unreachable. `changed` is called after every
    change. Raises SettingsError when JWKS_FILE holds no key set.

    Invariant: a token whose key is unknown is refused only by a read that began after the token arrived. Otherwise a
    stranger's tokens, which use up the cool-down, could make the service refuse the first tokens of a new key.
    """

    algorithms = tuple(ALGORITHMS.values())

    def __init__(self, settings: Settings, limits: JwksLimits, changed: Callable[[], None]) -> None:
        self._limits = limits
        self._refresh = settings.jwks_refresh
        self._cooldown = settings.jwks_cooldown
        self._changed = changed
        self._document: bytes | None = None
        self._keys: dict[str | None, Key] = {}
        self._failure = ""  # why the last read failed; empty when it succeeded, and during the next read
        self._read_at = -math.inf  # when the last successful read began, by the monotonic clock
        self._next_read_at = -math.inf  # when the next read for an unknown key may begin
        self._wanted = asyncio.Event()
        self._read_ended = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._source = self._file(Path(settings.jwks_file)) if settings.jwks_file else self._url(settings.jwks_url)

    def _file(self, path: Path) -> Callable[[], Awaitable[bytes]]:
        try:  # at once, so that a bad file stops the start like any other bad setting
            self._document = path.read_bytes()
            self._keys = self._parse(self._document)
        except Exception as error:  # no such file, no JSON, no key
            raise SettingsError(f"JWKS_FILE holds no key set: {_reason(error)}") from None
        return partial(asyncio.to_thread, path.read_bytes)

    def _url(self, url: str) -> Callable[[], Awaitable[bytes]]:
        from service.auth.fetch import Fetcher  # httpx takes 60 ms to import, which no other deployment needs

        return partial(Fetcher(self._limits.document_bytes).fetch, url)

    def _parse(self, document: bytes) -> dict[str | None, Key]:
        if len(document) > self._limits.document_bytes:
            raise ValueError(f"it is larger than {self._limits.document_bytes} bytes")
        return usable_keys(document)

    async def open(self) -> None:
        """Starts the task that reads the key set, at once and then every JWKS_REFRESH seconds."""
        self._task = asyncio.create_task(self._keep_fresh())

    async def close(self) -> None:
        """Cancels that task, and a read in progress."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def find(self, bearer: Unverified) -> Key:
        """The key that the token names or, if it names none, the only key. Waits for the next read if it is unknown.

        Raises InvalidToken when the issuer has no such key, KeysUnavailable when no read finishes in time.
        """
        if key := self._known(bearer.key_id):
            return key
        arrived = time.monotonic()
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait), self._read_ended:
                await self._read_ended.wait_for(
                    lambda: self._failure or self._read_at >= arrived or self._known(bearer.key_id)
                )
        if key := self._known(bearer.key_id):
            return key
        raise InvalidToken if self._read_at >= arrived else KeysUnavailable

    def _known(self, key_id: str | None) -> Key | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _keep_fresh(self) -> None:
        while True:
            await self._read()
            async with self._read_ended:
                self._read_ended.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._refresh, self._limits.retry) if self._failure else self._refresh):
                    await self._wanted.wait()
                    await asyncio.sleep(self._next_read_at - time.monotonic())
                    self._next_read_at = time.monotonic() + self._cooldown

    async def _read(self) -> None:
        self._wanted.clear()
        self._failure = ""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.read):
                document = await self._source()
            if document != self._document:
                self._keys = await asyncio.to_thread(self._parse, document)
                self._document = document
                self._changed()
            self._read_at = began
        except Exception as error:  # of any library below: the known keys stay, and the next read comes
            self._failure = _reason(error)
            logger.warning("The key set could not be read: %s", self._failure)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__  # the text of an OSError has the path
