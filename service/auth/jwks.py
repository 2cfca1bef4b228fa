"""The issuer's key set: read at start, refreshed, and read again for unknown keys at most once per JWKS_COOLDOWN."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from service.auth.errors import InvalidToken, KeysUnavailable
from service.auth.keys import Key, Keys, signed_by, usable_keys
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
    """The issuer's public keys, read from `source` by one task, one read at a time.

    The keys of the last successful read are kept while the issuer is unreachable. `changed` is called after every
    change.

    Invariant: a token whose key is unknown is refused only by a read that began after the token arrived. Otherwise a
    stranger's tokens, which use up the cool-down, could make the service refuse the first tokens of a new key.
    """

    def __init__(
        self,
        settings: Settings,
        limits: JwksLimits,
        source: Callable[[], Awaitable[bytes]],
        changed: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._refresh = settings.jwks_refresh
        self._cooldown = settings.jwks_cooldown
        self._source = source
        self._changed = changed
        self._document: bytes | None = None
        self._keys = Keys()
        self._failure = ""  # why the last read failed; empty when it succeeded, and during the next read
        self._read_at = -math.inf  # when the last successful read began, by the monotonic clock
        self._next_read_at = -math.inf  # when the next read for an unknown key may begin
        self._wanted = asyncio.Event()
        self._read_ended = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_keys(self) -> bool:
        """Whether a key set was read."""
        return bool(self._keys)

    def names(self, key_id: str | None) -> bool:
        """Whether the id is that of a known key."""
        return self._keys.names(key_id)

    def load(self, path: Path, setting: str) -> None:
        """Read a file at once, so that a bad one stops the start like any other bad setting. Raises SettingsError."""
        try:
            document = path.read_bytes()
            self._keys = self._parse(document)
            self._document = document
        except Exception as error:  # no such file, no JSON, no key
            raise SettingsError(f"{setting} holds no key set: {_reason(error)}") from None

    def _parse(self, document: bytes) -> Keys:
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

    async def find(self, bearer: Unverified, rejected: Key | None = None) -> Key:
        """The key that may have signed the token. Waits for the next read when no known key may.

        A single candidate is returned although its signature was not checked: the caller does that. Without a `kid`
        that names a key, it may be the wrong one; the caller then asks once more, with that key as `rejected`.

        Raises InvalidToken when the issuer has no such key, KeysUnavailable when no read finishes in time.
        """
        if key := self._known(bearer, rejected):
            return key
        if self._keys.names(bearer.key_id):  # only its keys can have signed it, and none did
            raise InvalidToken("signature" if self._keys.candidates(bearer) else "algorithm")
        arrived, known = time.monotonic(), self._keys
        self._wanted.set()

        def decided() -> bool:
            if self._failure or self._read_at >= arrived:
                return True
            return self._keys is not known and self._known(bearer, rejected) is not None

        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait), self._read_ended:
                await self._read_ended.wait_for(decided)
        if key := self._known(bearer, rejected):
            return key
        if self._read_at >= arrived:
            raise InvalidToken("unknown_key")
        raise KeysUnavailable

    def _known(self, bearer: Unverified, rejected: Key | None) -> Key | None:
        candidates = self._keys.candidates(bearer)
        if len(candidates) == 1:  # the usual case: its signature is verified once, by the caller
            return candidates[0] if candidates[0] is not rejected else None
        return next((key for key in candidates if signed_by(key, bearer)), None)

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
