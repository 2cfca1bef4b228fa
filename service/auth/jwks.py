"""The issuer's key set: kept fresh, and asked for unknown keys at most once per cool-down.

Knows no more of a token than which key it names, and what find() refuses. What a usable key is, keys.py decides.
"""

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httptools

from service.auth.errors import InvalidToken, KeysUnavailable
from service.auth.keys import ALGORITHMS, SET_BYTES, Key, usable_keys
from service.auth.token import Unverified
from service.settings import Settings, SettingsError

logger = logging.getLogger("service.auth")

READ_SECONDS = 5.0
"""For a whole read, from the look-up of the issuer's name to the last byte."""

WAIT_SECONDS = 6.0
"""The longest that a request waits for a key: the usual JWKS_COOLDOWN, and a read by an issuer that is well."""

RETRY_SECONDS = 5.0
"""From a failed read to the next in the background, if JWKS_REFRESH is not shorter."""


class KeySet:
    """The issuer's public keys, read from JWKS_URL or JWKS_FILE by one task, one read at a time.

    What was read last is kept while the issuer is away. `changed` is called after every change.
    Raises SettingsError when JWKS_FILE holds no key set.
    """

    algorithms = tuple(ALGORITHMS.values())

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self._refresh = settings.jwks_refresh
        self._cooldown = settings.jwks_cooldown
        self._changed = changed
        self._document: bytes | None = None
        self._keys: dict[str | None, Key] = {}
        self._failure = ""  # why the last read failed; empty when it did not, and during the next
        self._asked = -math.inf  # when the last read that succeeded began, by the monotonic clock
        self._permitted = -math.inf  # when the next read for an unknown key may begin
        self._wanted = asyncio.Event()
        self._ended = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        url, file = settings.jwks_url, Path(settings.jwks_file)
        self._source: Callable[[], Awaitable[bytes]] = (
            partial(fetch, url, ssl.create_default_context()) if url else partial(asyncio.to_thread, file.read_bytes)
        )
        if settings.jwks_file:  # now, as a bad setting; in open() it would be the server's failure, told by a traceback
            try:
                self._document = file.read_bytes()
                self._keys = usable_keys(self._document)
            except Exception as error:  # no such file, no JSON, no key: a bad setting all the same
                raise SettingsError(f"JWKS_FILE holds no key set: {_reason(error)}") from None

    async def open(self) -> None:
        """Begins to read the key set, now and every JWKS_REFRESH seconds."""
        self._task = asyncio.create_task(self._keep_fresh())

    async def close(self) -> None:
        """Ends what open() began, a read under way too."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def find(self, bearer: Unverified) -> Key:
        """The key that the token names or, if it names none, the only key.

        One that is not known may be newer than the last read: the next one is waited for, and that decides.
        Raises InvalidToken when the issuer has no such key, KeysUnavailable when it does not say so in time.
        """
        if key := self._known(bearer.key_id):
            return key
        arrived = time.monotonic()
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS), self._ended:
                await self._ended.wait_for(
                    lambda: self._failure or self._asked >= arrived or self._known(bearer.key_id)
                )
        if key := self._known(bearer.key_id):
            return key
        raise InvalidToken if self._asked >= arrived else KeysUnavailable

    def _known(self, key_id: str | None) -> Key | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _keep_fresh(self) -> None:
        while True:
            await self._read()
            async with self._ended:
                self._ended.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._refresh, RETRY_SECONDS) if self._failure else self._refresh):
                    await self._wanted.wait()
                    await asyncio.sleep(self._permitted - time.monotonic())
                    self._permitted = time.monotonic() + self._cooldown

    async def _read(self) -> None:
        self._wanted.clear()
        self._failure = ""
        began = time.monotonic()
        try:
            async with asyncio.timeout(READ_SECONDS):
                document = await self._source()
            if document != self._document:
                self._keys = await asyncio.to_thread(usable_keys, document)
                self._document = document
                self._changed()
            self._asked = began
        except Exception as error:  # whatever it was: the known keys stay, and the next read comes
            self._failure = _reason(error)
            logger.warning("The key set could not be read: %s", self._failure)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__  # an OSError's text shows the path


class Answer:
    """An HTTP answer, as httptools tells of it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def fetch(url: str, context: ssl.SSLContext) -> bytes:
    """The body at `url`, which settings.py finds safe to fetch. Raises OSError, ValueError, httptools.HttpParserError.

    Follows no redirect, opens no file:// and takes no proxy from the environment. Not by http.client: its timeouts are
    for each step, and the thread that it needs would hold up the stop.
    """
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    host = parts.netloc.rpartition("@")[2]
    answer = Answer()
    parser = httptools.HttpResponseParser(answer)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if tls else 80), ssl=context if tls else None
    )
    try:
        fields = f"Host: {host}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\nConnection: close\r\n"
        writer.write(f"GET {target} HTTP/1.1\r\n{fields}\r\n".encode())
        while not answer.complete and len(answer.body) <= SET_BYTES and (data := await reader.read(SET_BYTES)):
            parser.feed_data(data)
    finally:
        writer.transport.abort()
    if parser.get_status_code() != 200:
        raise ValueError(f"the issuer answered {parser.get_status_code()}")
    return bytes(answer.body)
