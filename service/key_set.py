"""The issuer's key set: read off the event loop, kept fresh, asked for unknown keys at most once per cool-down.

Knows no token and no HTTP status but the two refusals of find(). What a usable key is, keys.py decides.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from service.errors import NO_KEYS, UNAUTHORIZED, Problem
from service.keys import ALGORITHMS, SET_BYTES, Key, usable_keys
from service.settings import Settings, SettingsError

logger = logging.getLogger("service.auth")

FETCH_SECONDS = 5.0
"""For each step of a fetch; also the longest that a request waits for one."""

RETRY_SECONDS = 5.0
"""From a failed read to the next in the background, if JWKS_REFRESH is not shorter."""


class KeySet:
    """The issuer's public keys, read from JWKS_URL or JWKS_FILE off the event loop.

    What was read last is kept while the issuer is away. `changed` is called after every change.
    Raises SettingsError when JWKS_FILE holds no key set.
    """

    algorithms = tuple(ALGORITHMS.values())

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self.failure = "not read yet"
        """Why the last read failed; empty when it did not."""
        file = settings.jwks_file
        self._source = Path(file).read_bytes if file else partial(fetch, settings.jwks_url)
        self._refresh = settings.jwks_refresh
        self._cooldown = settings.jwks_cooldown
        self._changed = changed
        self._document: bytes | None = None
        self._keys: dict[str | None, Key] = {}
        self._asked = -math.inf  # monotonic time of the last read for the sake of an unknown key
        self._reading: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        if file:  # now, as a bad setting; in open() it would be the server's failure, told by a traceback
            try:
                self._document = self._source()
                self._keys = usable_keys(self._document)
                self.failure = ""
            except Exception as error:  # whatever it was
                raise SettingsError(f"JWKS_FILE holds no key set: {_reason(error)}") from None

    async def open(self) -> None:
        """Begins to read the key set, now and every JWKS_REFRESH seconds."""
        self._refreshing = asyncio.create_task(self._keep_fresh(self._read()))

    async def close(self) -> None:
        """Ends what open() began; a fetch under way ends by its own deadline, unheard."""
        tasks = [task for task in (self._refreshing, self._reading) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, key_id: str | None) -> Key:
        """The key of that id or, without an id, the only key; asks the issuer once per JWKS_COOLDOWN at most.

        Raises Problem: UNAUTHORIZED when the issuer has no such key, NO_KEYS when it cannot be asked.
        """
        if key := self._known(key_id):
            return key
        reading = self._reading
        if reading is None or (reading.done() and time.monotonic() - self._asked >= self._cooldown):
            self._asked = time.monotonic()
            reading = self._read()
        # wait() and not wait_for(): a caller that leaves or tires must not end the read that others share
        _, unfinished = await asyncio.wait([reading], timeout=FETCH_SECONDS)
        if key := self._known(key_id):
            return key
        raise Problem(NO_KEYS if unfinished or self.failure else UNAUTHORIZED)

    def _known(self, key_id: str | None) -> Key | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _read(self) -> asyncio.Task[None]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_once())
        return self._reading

    async def _read_once(self) -> None:
        try:
            document = await asyncio.to_thread(self._source)
            if document != self._document:
                self._keys = await asyncio.to_thread(usable_keys, document)
                self._document = document
                self._changed()
            self.failure = ""
        except Exception as error:  # whatever it was: the known keys stay, and the next read comes
            self.failure = _reason(error)
            logger.warning("The key set could not be read: %s", self.failure)

    async def _keep_fresh(self, reading: asyncio.Task[None]) -> None:
        while True:
            await asyncio.wait([reading])
            await asyncio.sleep(min(self._refresh, RETRY_SECONDS) if self.failure else self._refresh)
            reading = self._read()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__  # an OSError's text shows the path


def fetch(url: str) -> bytes:
    """The body at `url`, of which the settings say that it is safe to fetch. Raises OSError, HTTPException, ValueError.

    Plain http.client follows no redirect, opens no file:// and takes no proxy from the environment.
    """
    parts = urlsplit(url)
    connection_class = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    with closing(connection_class(parts.hostname or "", parts.port, timeout=FETCH_SECONDS)) as connection:
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", target, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"the issuer answered {response.status}")
        return response.read(SET_BYTES + 1)
