"""Bearer token -> user: full verification, and the cache of verified tokens.

The cache keeps tokens in memory, and a heap dump shows them. TOKEN_CACHE_SIZE=0 turns it off.
"""

import logging
import time
from collections.abc import Callable

import jwt
import msgspec

from service.auth.errors import InvalidToken, KeysUnavailable
from service.auth.jwks import LIMITS, JwksLimits, KeySet
from service.auth.keys import SharedSecret
from service.auth.token import Malformed, read_bearer
from service.db import UUID
from service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

CACHE_SECONDS = 60.0
"""How long a token is cached at most."""


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

    `clock` gives epoch seconds. Raises SettingsError when a key in `settings` cannot be used.
    """

    def __init__(self, settings: Settings, limits: JwksLimits = LIMITS, clock: Callable[[], float] = time.time) -> None:
        self.misses = 0
        """How many tokens were verified in full, successfully or not."""
        self._clock = clock
        self._users: dict[bytes, User] = {}
        self._capacity = settings.token_cache_size
        self._leeway = settings.jwt_leeway
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self._keys: SharedSecret | KeySet = (
            SharedSecret(settings.jwt_secret)
            if settings.jwt_secret
            else KeySet(settings, limits, changed=self._users.clear)  # a withdrawn key may have signed any of them
        )

    @property
    def cached_tokens(self) -> int:
        """The number of cached tokens, expired ones included."""
        return len(self._users)

    async def open(self) -> None:
        """Starts to read the issuer's keys, and to keep them fresh."""
        if isinstance(self._keys, KeySet):
            await self._keys.open()

    async def close(self) -> None:
        """Stops what open() started."""
        if isinstance(self._keys, KeySet):
            await self._keys.close()

    def cached(self, authorization: bytes) -> User | None:
        """The user of an Authorization header, if verify() has accepted it and it has not expired."""
        user = self._users.get(authorization)
        return user if user is not None and self._clock() < user.expires else None

    async def verify(self, authorization: bytes) -> User:
        """The user of an Authorization header. Raises InvalidToken or KeysUnavailable."""
        self.misses += 1
        try:
            bearer = read_bearer(authorization, self._keys.algorithms)
            key = await self._keys.find(bearer)
            jwt.decode(
                bearer.token,
                key,
                algorithms=[key.algorithm_name],
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
            )
        except (InvalidToken, KeysUnavailable):
            raise
        except Exception as error:  # the parsers raise many types, and a client's bytes must never cause a 500
            reason = error if isinstance(error, (Malformed, jwt.PyJWTError)) else type(error).__name__
            logger.debug("A token is refused: %s", reason)
            raise InvalidToken from None
        expires = min(bearer.expires + self._leeway, self._clock() + CACHE_SECONDS)
        user = User(UUID(str(bearer.subject)), str(bearer.subject), expires)
        if self._capacity and authorization == b"Bearer " + bearer.token:
            # Only this spelling of the header is cached: the scheme's case and spaces vary, and one token could fill
            # the cache. An expired entry is removed first, or the token would keep its old place in the order.
            self._users.pop(authorization, None)
            if len(self._users) >= self._capacity:
                del self._users[next(iter(self._users))]
            self._users[authorization] = user
        return user


def issue_token(settings: Settings, user_id: UUID, seconds: int) -> str:
    """A token that Authenticator accepts, for development. Raises SettingsError when JWT_SECRET is not set."""
    if not settings.jwt_secret:
        raise SettingsError("JWT_SECRET is not set: only the issuer of the key set can make tokens")
    now = int(time.time())
    required = {"iss": settings.jwt_issuer, "aud": settings.jwt_audience}
    claims = {"sub": str(user_id), "iat": now, "exp": now + seconds} | {k: v for k, v in required.items() if v}
    return jwt.encode(claims, settings.jwt_secret, "HS256")
