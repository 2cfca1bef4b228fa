"""One issuer: its names, its keys, and the claims that its tokens must have. Issuers share none of these."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid5

from service.auth.discovery import discover
from service.auth.errors import InvalidToken
from service.auth.issuer_settings import IssuerSettings, discovered_names
from service.auth.jwks import JwksLimits, KeySet
from service.auth.keys import ALGORITHMS, Key
from service.auth.shared_secrets import SharedSecrets
from service.auth.token import UnverifiedToken
from service.db import UUID
from service.settings import Settings

ASYMMETRIC_ALGORITHMS = {name for names in ALGORITHMS.values() for name in names}

CLAIM_LENGTH = 255
"""The most characters of a user's id: OpenID Connect Core 1.0, section 2."""


class Issuer:
    """An issuer of tokens. Calls `changed` after each change of its keys or its name.

    Raises SettingsError when JWKS_FILE contains no key set.
    """

    def __init__(
        self, issuer: IssuerSettings, settings: Settings, limits: JwksLimits, changed: Callable[[], None]
    ) -> None:
        self.names = issuer.names or discovered_names(issuer.discovery_url)
        """The accepted values of `iss`. If empty, any value is accepted."""
        self.audiences = issuer.audiences
        self._settings = issuer
        self._changed = changed
        self._secrets = SharedSecrets(issuer.secrets)
        self._key_set: KeySet | None = None
        if issuer.jwks_file:
            read = partial(asyncio.to_thread, Path(issuer.jwks_file).read_bytes)
            self._key_set = KeySet(settings, limits, read, changed)
            self._key_set.load(Path(issuer.jwks_file), f"{issuer.error_prefix}JWKS_FILE")
        elif issuer.has_key_set:
            self._key_set = KeySet(settings, limits, self._source(settings, limits), changed)

    def _source(self, settings: Settings, limits: JwksLimits) -> Callable[[], Awaitable[bytes]]:
        from service.auth.fetch import Fetcher  # importing httpx takes 60 ms, and only a URL needs it

        fetch = Fetcher(limits.document_bytes).fetch
        if self._settings.jwks_url:
            return partial(fetch, self._settings.jwks_url)

        url, allowed = self._settings.discovery_url, self.names

        async def discovered() -> bytes:
            name, document = await discover(fetch, url, allowed, settings.jwks_allow_http)
            if not self._settings.names and self.names != (name,):
                self.names = (name,)
                self._changed()
            return document

        return discovered

    @property
    def has_keys(self) -> bool:
        """Whether tokens of this issuer can be verified: a secret is set, or the key set was read."""
        return bool(self._settings.secrets) or (self._key_set is not None and self._key_set.has_keys)

    async def open(self) -> None:
        """Start the task that reads and refreshes the key set."""
        if self._key_set:
            await self._key_set.open()

    async def close(self) -> None:
        """Stop the task that open() started."""
        if self._key_set:
            await self._key_set.close()

    def check(self, token: UnverifiedToken) -> None:
        """Check the algorithm, the required claims and the user id, before a key is found. Raises InvalidToken."""
        if token.algorithm not in self._secrets and not (self._key_set and token.algorithm in ASYMMETRIC_ALGORITHMS):
            raise InvalidToken("algorithm", "alg is not accepted")
        for required in self._settings.required_claims:
            if not required.accepts(token.claims):
                raise InvalidToken("claim", f"the claim {required.name} is not as JWT_REQUIRED_CLAIMS says")
        self.user_id(token.claims)

    def user_id(self, claims: dict[str, Any]) -> UUID:
        """Return the user's id from the claims. Raises InvalidToken or ValueError.

        With JWT_USER_NAMESPACE, it is the version 5 UUID of the issuer's first name, a space and the claim.
        The first name is used, not the token's `iss`, so that ids stay the same when the issuer changes its domain.
        """
        name = self._settings.user_claim
        text = claims.get(name)
        if not isinstance(text, str) or not 0 < len(text) <= CLAIM_LENGTH:
            raise InvalidToken("user", f"{name} is not a string of 1 to {CLAIM_LENGTH} characters")
        if self._settings.user_namespace:
            return UUID(str(uuid5(self._settings.user_namespace, f"{self.names[0]} {text}")))
        with suppress(ValueError):
            user = UUID(text)  # also accepts braces, `urn:uuid:` and dashes at any position
            if str(user) == text.lower():
                return user
        raise InvalidToken("user", f"{name} is not a UUID in 36 characters: set JWT_USER_NAMESPACE for other ids")

    async def find(self, token: UnverifiedToken, rejected: Key | None = None) -> Key:
        """Return the key that may have signed the token. Raises InvalidToken or KeysUnavailable."""
        if self._key_set is None or token.algorithm in self._secrets:
            return self._secrets.find(token)
        return await self._key_set.find(token, rejected)

    def may_have_unread_key(self, token: UnverifiedToken) -> bool:
        """Whether the issuer may have signed the token with a new key that this service has not read yet."""
        return (
            self._key_set is not None
            and token.algorithm in ASYMMETRIC_ALGORITHMS
            and not self._key_set.has_key_id(token.key_id)
        )
