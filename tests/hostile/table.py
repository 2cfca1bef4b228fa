"""All rows, and the two services that they are sent to: one trusts a secret, one an issuer's keys."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.hostile import bodies, messages, paths, tokens
from tests.hostile.target import Target, target
from tests.jwks_server import JwksServer
from tests.tokens import ED, SECRET, key_set

ROWS = [*tokens.ROWS, *paths.ROWS, *bodies.ROWS, *messages.ROWS]
"""For a service that trusts a shared secret."""

ISSUER_ROWS = [*tokens.ROWS, *tokens.ISSUER_ROWS]
"""For a service that trusts an issuer's keys and checks its name."""

NAMED = {"iss": "https://id.example", "aud": "tasks"}


@contextmanager
def issuer() -> Iterator[JwksServer]:
    """An issuer that publishes one key."""
    server = JwksServer(key_set(ED))
    try:
        yield server
    finally:
        server.stop()


def shared_secret(database_url: str) -> AbstractContextManager[Target]:
    """A service that trusts a shared secret."""
    return target(SECRET, {}, DATABASE_URL=database_url, JWT_SECRET=SECRET.secret.decode())


def issued(database_url: str, jwks_url: str) -> AbstractContextManager[Target]:
    """A service that trusts an issuer's keys."""
    settings = {"JWKS_URL": jwks_url, "JWT_ISSUER": NAMED["iss"], "JWT_AUDIENCE": NAMED["aud"]}
    return target(ED, NAMED, DATABASE_URL=database_url, JWKS_COOLDOWN="0.2", CURSOR_SECRET="x" * 32, **settings)
