"""An issuer's key set. It is read at start, refreshed, and read for unknown keys at most once per JWKS_COOLDOWN."""

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
from service.auth.token import UnverifiedToken
from service.settings import Settings, SettingsError

logger = logging.getLogger("service.auth")


class JwksLimits(msgspec.Struct, frozen=True):
    """Limits for reading a key set. Times are in seconds."""

    document_bytes: int = 1_048_576
    """A larger key set is refused."""
    read: float = 5.0
    """The longest read, from DNS resolution to the last byte."""
    wait: float = 6.0
    """The longest wait of a request for an unknown key: the default JWKS_COOLDOWN and one second for the read."""
    retry: float = 5.0
    """The time from a failed read to the next read, unless JWKS_REFRESH is shorter."""


LIMITS = JwksLimits()


class KeySet:
    """The issuer's public keys. One task reads them from `source`, one read at a time.

    The keys of the last successful read are kept while the issuer is unreachable. `changed` is called after each change
    of the keys.

    Invariant: a token with an unknown key is refused only after a successful read that began after the token arrived.
    Otherwise forged tokens with unknown keys, each of which may start the cool-down, could cause the refusal of valid
    tokens with a new key.
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
        self._failure = ""  # why the last read failed; empty after a success and during a read
        self._read_at = -math.inf  # monotonic time at which the last successful read began
        self._next_read_at = -math.inf  # monotonic time from which a read for an unknown key may begin
        self._wanted = asyncio.Event()
        self._read_ended = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_keys(self) -> bool:
        """Whether a key set was read successfully."""
        return bool(self._keys)

    def has_key_id(self, key_id: str | None) -> bool:
        """Whether a known key has this id."""
        return self._keys.has_key_id(key_id)

    def load(self, path: Path, setting: str) -> None:
        """Read the file at start. A bad file is reported like any other bad setting. Raises SettingsError."""
        try:
            document = path.read_bytes()
            self._keys = self._parse(document)
            self._document = document
        except Exception as error:  # for example: no such file, not JSON, no usable key
            raise SettingsError(f"{setting} holds no key set: {_reason(error)}") from None

    def _parse(self, document: bytes) -> Keys:
        if len(document) > self._limits.document_bytes:
            raise ValueError(f"it is larger than {self._limits.document_bytes} bytes")
        return usable_keys(document)

    async def open(self) -> None:
        """Start the task that reads the key set at once, and again every JWKS_REFRESH seconds."""
        self._task = asyncio.create_task(self._keep_fresh())

    async def close(self) -> None:
        """Cancel the task, and a read in progress."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def find(self, token: UnverifiedToken, rejected: Key | None = None) -> Key:
        """Return the key that may have signed the token. Wait for the next read when no known key can have signed it.

        A single candidate is returned without a check of the signature, which the caller verifies. If the token's `kid`
        names no key, the candidate may be wrong. The caller then calls again, with this key as `rejected`.

        Raises InvalidToken when the issuer has no such key, KeysUnavailable when no read finishes in time.
        """
        if key := self._known(token, rejected):
            return key
        if self._keys.has_key_id(token.key_id):  # only keys with this id can have signed it, and none of them did
            raise InvalidToken("signature" if self._keys.candidates(token) else "algorithm")
        arrived, known = time.monotonic(), self._keys
        self._wanted.set()

        def decided() -> bool:
            if self._failure or self._read_at >= arrived:
                return True
            return self._keys is not known and self._known(token, rejected) is not None

        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait), self._read_ended:
                await self._read_ended.wait_for(decided)
        if key := self._known(token, rejected):
            return key
        if self._read_at >= arrived:
            raise InvalidToken("unknown_key")
        raise KeysUnavailable

    def _known(self, token: UnverifiedToken, rejected: Key | None) -> Key | None:
        candidates = self._keys.candidates(token)
        if len(candidates) == 1:  # the usual case: the caller verifies the signature, once
            return candidates[0] if candidates[0] is not rejected else None
        return next((key for key in candidates if signed_by(key, token)), None)

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
        except Exception as error:  # of any type: the known keys are kept until a read succeeds
            self._failure = _reason(error)
            logger.warning("The key set could not be read: %s", self._failure)


def _reason(error: Exception) -> str:
    # `strerror` of an OSError does not contain the path.
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
