"""Bearer token -> user: full verification, and the cache of verified tokens.

The cache keeps tokens in memory, and a heap dump shows them. TOKEN_CACHE_SIZE=0 turns it off.
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
from service.auth.token import Unverified, read_bearer
from service.db import UUID
from service.settings import Settings, SettingsError

CACHE_SECONDS = 60.0
"""How long a token is cached at most."""


REASON_OF: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "signature",
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidIssuerError: "issuer",
    jwt.InvalidAudienceError: "audience",
    jwt.InvalidAlgorithmError: "algorithm",
}
"""PyJWT's errors by kind of refusal; every other error is a malformed token."""


class User(msgspec.Struct, frozen=True, gc=False):
    """The user of a verified token.

    `id_text` is the id in lower-case canonical form, as in paths. After `expires`, in epoch seconds, the token must be
    verified again.
    """

    id: UUID
    id_text: str
    expires: float


class Authenticator:
    """Verifies tokens, and caches the users of up to TOKEN_CACHE_SIZE of them. The oldest is evicted first.

    A token's `iss` selects the issuer, and that issuer's keys, audience and claims alone decide about it.
    `clock` gives epoch seconds. Raises SettingsError when a setting of an issuer is bad.
    """

    def __init__(self, settings: Settings, limits: JwksLimits = LIMITS, clock: Callable[[], float] = time.time) -> None:
        self.misses = 0
        """How many tokens were verified in full, successfully or not."""
        self.refusals = RefusalLog()
        """Counts and logs refused tokens by reason."""
        self._clock = clock
        self._users: dict[bytes, User] = {}
        self._capacity = settings.token_cache_size
        self._max_bytes = settings.max_token_bytes
        self._leeway = settings.jwt_leeway
        # A key set that changed may lack the key of any cached token.
        self._issuers = [Issuer(each, settings, limits, self._users.clear) for each in read_issuers(settings)]
        self._by_name = {name: issuer for issuer in self._issuers for name in issuer.names}
        self._any_name = next((issuer for issuer in self._issuers if not issuer.names), None)

    @property
    def cached_tokens(self) -> int:
        """The number of cached tokens, expired ones included."""
        return len(self._users)

    @property
    def has_keys(self) -> bool:
        """Whether the tokens of some issuer can be verified: a secret is set, or a key set was read."""
        return any(issuer.has_keys for issuer in self._issuers)

    async def open(self) -> None:
        """Starts to read the issuers' key sets, and to keep them fresh."""
        for issuer in self._issuers:
            await issuer.open()

    async def close(self) -> None:
        """Stops what open() started."""
        for issuer in self._issuers:
            await issuer.close()

    def cached(self, authorization: bytes) -> User | None:
        """The user of an Authorization header, if verify() has accepted it and it has not expired."""
        user = self._users.get(authorization)
        return user if user is not None and self._clock() < user.expires else None

    async def verify(self, authorization: bytes) -> User:
        """The user of an Authorization header. Raises InvalidToken, TokenTooLarge or KeysUnavailable."""
        self.misses += 1
        try:
            bearer = read_bearer(authorization, self._max_bytes)
            issuer = self._issuer(bearer)
            issuer.check(bearer)
            await self._check(bearer, issuer)
            # Only now: the first read of a discovery document, which this token may have waited for, names the issuer.
            user_id = issuer.user_id(bearer.claims)
        except (InvalidToken, TokenTooLarge, KeysUnavailable) as error:
            self.refusals.note(error)
            raise
        except Exception as error:  # the parsers raise many types, and a client's bytes must never cause a 500
            refused = InvalidToken(_reason(error), str(error) if isinstance(error, jwt.PyJWTError) else "")
            self.refusals.note(refused)
            raise refused from None
        expires = min(bearer.expires + self._leeway, self._clock() + CACHE_SECONDS)
        user = User(user_id, str(user_id), expires)
        if self._capacity and authorization == b"Bearer " + bearer.token:
            # Only this spelling of the header is cached: the scheme's case and spaces vary, and one token could fill
            # the cache. An expired entry is removed first, or the token would keep its old place in the order.
            self._users.pop(authorization, None)
            if len(self._users) >= self._capacity:
                del self._users[next(iter(self._users))]
            self._users[authorization] = user
        return user

    def _issuer(self, bearer: Unverified) -> Issuer:
        name = bearer.claims.get("iss")
        issuer = self._by_name.get(name, self._any_name) if isinstance(name, str) else self._any_name
        if issuer is None:
            raise InvalidToken("issuer", "iss is none of the issuers")
        return issuer

    async def _check(self, bearer: Unverified, issuer: Issuer) -> None:
        key = await issuer.find(bearer)
        try:
            self._decode(bearer, issuer, key)
        except jwt.InvalidSignatureError:
            if not issuer.may_be_newer(bearer):
                raise
            # A token without a `kid`, and the only key has not signed it: the issuer may have replaced that key.
            self._decode(bearer, issuer, await issuer.find(bearer, rejected=key))

    def _decode(self, bearer: Unverified, issuer: Issuer, key: Key) -> None:
        jwt.decode(
            bearer.token,
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
    """A token that Authenticator accepts, for development. Raises SettingsError when JWT_SECRET is not set."""
    if not settings.jwt_secret:
        raise SettingsError("JWT_SECRET is not set: only the issuer of the key set can make tokens")
    issuer = read_issuers(settings)[0]
    now = int(time.time())
    required = {"iss": issuer.names[:1], "aud": issuer.audiences[:1]}
    claims: dict[str, Any] = {issuer.user_claim: str(user_id), "iat": now, "exp": now + seconds}
    claims |= {claim: values[0] for claim, values in required.items() if values}
    claims |= {claim.name: min(claim.values) for claim in issuer.required_claims if not claim.excluded}
    return jwt.encode(claims, settings.jwt_secret, "HS256")
