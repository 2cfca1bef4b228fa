"""Verifies bearer tokens and caches the users of verified tokens.

The cache keeps tokens in memory, so a heap dump contains them. TOKEN_CACHE_SIZE=0 turns it off.
"""

import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec

from service.auth.errors import InvalidToken, KeysUnavailable, TokenTooLarge
from service.auth.issuer import Issuer
from service.auth.issuer_settings import read_issuers
from service.auth.jwks import LIMITS, JwksLimits
from service.auth.keys import Key
from service.auth.refusals import RefusalLog
from service.auth.token import UnverifiedToken, read_bearer
from service.db import UUID
from service.settings import Settings, SettingsError

CACHE_SECONDS = 60.0
"""The longest time that a token is cached."""

REASON_OF: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "signature",
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidIssuerError: "issuer",
    jwt.InvalidAudienceError: "audience",
    jwt.InvalidAlgorithmError: "algorithm",
}
"""The reason for each error of PyJWT, a key of REASONS. Every other error is `malformed`."""


class User(msgspec.Struct, frozen=True, gc=False):
    """The user of a verified token.

    `id_text` is the id in lower-case canonical form, as in paths. The token must be verified again after `expires`
    (epoch seconds).
    """

    id: UUID
    id_text: str
    expires: float


class Authenticator:
    """Verifies tokens, and caches the users of up to TOKEN_CACHE_SIZE of them. The oldest is evicted first.

    The `iss` claim selects the issuer. A token is checked only against the keys, audiences and claims of that issuer.
    `clock` returns epoch seconds. Raises SettingsError when a setting of an issuer is not valid.
    """

    def __init__(self, settings: Settings, limits: JwksLimits = LIMITS, clock: Callable[[], float] = time.time) -> None:
        self.misses = 0
        """The number of tokens that were not in the cache and were verified, with or without success."""
        self.refusals = RefusalLog()
        """Counts and logs refused tokens by reason."""
        self._clock = clock
        self._users: dict[bytes, User] = {}
        self._capacity = settings.token_cache_size
        self._max_bytes = settings.max_token_bytes
        self._leeway = settings.jwt_leeway
        # The cache is cleared after each change of a key set: the new set may lack the key of a cached token.
        self._issuers = [Issuer(each, settings, limits, self._users.clear) for each in read_issuers(settings)]
        self._by_name = {name: issuer for issuer in self._issuers for name in issuer.names}
        self._any_name = next((issuer for issuer in self._issuers if not issuer.names), None)

    @property
    def cached_tokens(self) -> int:
        """The number of cached tokens, including expired tokens."""
        return len(self._users)

    @property
    def has_keys(self) -> bool:
        """Whether tokens of at least one issuer can be verified: its secret is set, or its key set was read."""
        return any(issuer.has_keys for issuer in self._issuers)

    async def open(self) -> None:
        """Start the tasks that read and refresh the issuers' key sets."""
        for issuer in self._issuers:
            await issuer.open()

    async def close(self) -> None:
        """Stop the tasks that open() started."""
        for issuer in self._issuers:
            await issuer.close()

    def cached(self, authorization: bytes) -> User | None:
        """Return the user of an Authorization header from the cache, or None if it is absent or expired."""
        user = self._users.get(authorization)
        return user if user is not None and self._clock() < user.expires else None

    async def verify(self, authorization: bytes) -> User:
        """Return the user of an Authorization header. Raises InvalidToken, TokenTooLarge or KeysUnavailable."""
        self.misses += 1
        try:
            token = read_bearer(authorization, self._max_bytes)
            issuer = self._issuer(token)
            issuer.check(token)
            await self._check(token, issuer)
            # After _check(), which may have waited for the first discovery document: that document has the issuer's
            # name, and the name is part of a user id in JWT_USER_NAMESPACE.
            user_id = issuer.user_id(token.claims)
        except (InvalidToken, TokenTooLarge, KeysUnavailable) as error:
            self.refusals.note(error)
            raise
        except Exception as error:  # the parsers raise many types, and no token may cause a 500
            refused = InvalidToken(_reason(error), str(error) if isinstance(error, jwt.PyJWTError) else "")
            self.refusals.note(refused)
            raise refused from None
        expires = min(token.expires + self._leeway, self._clock() + CACHE_SECONDS)
        user = User(user_id, str(user_id), expires)
        if self._capacity and authorization == b"Bearer " + token.encoded:
            # Only this spelling is cached: otherwise one token could fill the cache with variants of the scheme's case
            # and spaces. The expired entry is removed first, so that the new entry is the newest.
            self._users.pop(authorization, None)
            if len(self._users) >= self._capacity:
                del self._users[next(iter(self._users))]
            self._users[authorization] = user
        return user

    def _issuer(self, token: UnverifiedToken) -> Issuer:
        name = token.claims.get("iss")
        issuer = self._by_name.get(name, self._any_name) if isinstance(name, str) else self._any_name
        if issuer is None:
            raise InvalidToken("issuer", "iss is none of the issuers")
        return issuer

    async def _check(self, token: UnverifiedToken, issuer: Issuer) -> None:
        key = await issuer.find(token)
        try:
            self._decode(token, issuer, key)
        except jwt.InvalidSignatureError:
            if not issuer.may_have_unread_key(token):
                raise
            # The token has no known `kid`, and the only candidate key did not sign it: the issuer may have a new key.
            self._decode(token, issuer, await issuer.find(token, rejected=key))

    def _decode(self, token: UnverifiedToken, issuer: Issuer, key: Key) -> None:
        jwt.decode(
            token.encoded,
            key,
            algorithms=[key.algorithm_name],
            options={"require": ["exp"], "verify_aud": bool(issuer.audiences)},
            audience=issuer.audiences or None,
            issuer=issuer.names or None,
            leeway=self._leeway,
        )


def _reason(error: Exception) -> str:
    for kind, reason in REASON_OF.items():
        if isinstance(error, kind):
            return reason
    if isinstance(error, jwt.MissingRequiredClaimError):
        return {"iss": "issuer", "aud": "audience"}.get(error.claim, "malformed")
    return "malformed"


def issue_token(settings: Settings, user_id: UUID, seconds: int) -> str:
    """Sign a token that Authenticator accepts, for development. Raises SettingsError when JWT_SECRET is not set."""
    if not settings.jwt_secret:
        raise SettingsError("JWT_SECRET is not set: only the issuer of the key set can make tokens")
    issuer = read_issuers(settings)[0]
    now = int(time.time())
    required = {"iss": issuer.names[:1], "aud": issuer.audiences[:1]}
    claims: dict[str, Any] = {issuer.user_claim: str(user_id), "iat": now, "exp": now + seconds}
    claims |= {claim: values[0] for claim, values in required.items() if values}
    claims |= {claim.name: min(claim.values) for claim in issuer.required_claims if not claim.excluded}
    return jwt.encode(claims, settings.jwt_secret, "HS256")
