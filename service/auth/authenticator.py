"""Bearer token -> user: full verification, and the cache of verified tokens. With keys.py the only importer of jwt.

The cache holds tokens in memory, so a heap dump does too; TOKEN_CACHE_SIZE=0 turns it off.
"""

import logging
import time

import jwt
import msgspec

from service.auth.errors import InvalidToken, KeysUnavailable
from service.auth.jwks import KeySet
from service.auth.keys import SharedSecret
from service.auth.token import Malformed, read_bearer
from service.db import UUID
from service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

CACHE_SECONDS = 60.0
"""The longest that a token is remembered: what a key that is withdrawn elsewhere can outlive."""


class User(msgspec.Struct, frozen=True, gc=False):
    """The user of a verified token.

    `id_text` is the id in lower-case canonical form, as it stands in paths. After `expires`, in epoch seconds, the
    token must be verified again.
    """

    id: UUID
    id_text: str
    expires: float


class Authenticator:
    """Verifies tokens and remembers those that passed, the oldest of TOKEN_CACHE_SIZE being forgotten first.

    Raises SettingsError when JWKS_FILE holds no key set.
    """

    def __init__(self, settings: Settings) -> None:
        self.misses = 0
        """How many tokens were verified in full, successfully or not."""
        self._users: dict[bytes, User] = {}
        self._capacity = settings.token_cache_size
        self._leeway = settings.jwt_leeway
        self._issuer = settings.jwt_issuer or None
        self._audience = settings.jwt_audience or None
        self._keys: SharedSecret | KeySet = (
            SharedSecret(settings.jwt_secret) if settings.jwt_secret else KeySet(settings, changed=self._users.clear)
        )

    @property
    def cached_tokens(self) -> int:
        """How many tokens are remembered, expired ones included."""
        return len(self._users)

    async def open(self) -> None:
        """Begins to read the issuer's keys."""
        if isinstance(self._keys, KeySet):
            await self._keys.open()

    async def close(self) -> None:
        """Ends what open() began."""
        if isinstance(self._keys, KeySet):
            await self._keys.close()

    def cached(self, authorization: bytes) -> User | None:
        """The user of an Authorization header that verify() accepted a short while ago."""
        user = self._users.get(authorization)
        return user if user is not None and time.time() < user.expires else None

    async def verify(self, authorization: bytes) -> User:
        """The user of an Authorization header.

        Raises InvalidToken, or KeysUnavailable when the issuer cannot be asked for the token's key.
        """
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
        except Exception as error:  # whatever a parser raises for bytes of a stranger, it is never a 500
            told = error if isinstance(error, (Malformed, jwt.PyJWTError)) else type(error).__name__
            logger.debug("A token is refused: %s", told)
            raise InvalidToken from None
        expires = min(bearer.expires + self._leeway, time.time() + CACHE_SECONDS)
        user = User(UUID(str(bearer.subject)), str(bearer.subject), expires)
        if self._capacity and authorization == b"Bearer " + bearer.token:  # a token has thousands of spellings
            self._users.pop(authorization, None)  # or it would keep the place of its expired entry
            if len(self._users) >= self._capacity:
                del self._users[next(iter(self._users))]
            self._users[authorization] = user
        return user


def issue_token(settings: Settings, user_id: UUID, seconds: int) -> str:
    """A token that Authenticator accepts, for development. Raises SettingsError when only an issuer can make one."""
    if not settings.jwt_secret:
        raise SettingsError("JWT_SECRET is not set: tokens come from the issuer of the key set")
    now = int(time.time())
    named = {"iss": settings.jwt_issuer, "aud": settings.jwt_audience}
    claims = {"sub": str(user_id), "iat": now, "exp": now + seconds} | {k: v for k, v in named.items() if v}
    return jwt.encode(claims, settings.jwt_secret, "HS256")
