"""The public keys of a JSON Web Key Set. Each key has exactly one algorithm.

The key, not the token, decides the algorithm: the token's `alg` must be that of the key (RFC 8725, section 3.1).
"""

import copy
import logging
from collections import defaultdict
from typing import Annotated, Any, Literal

import jwt
import msgspec
from msgspec import Meta

from service.auth.token import KEY_ID_LENGTH, UnverifiedToken

logger = logging.getLogger("service.auth")

Key = jwt.PyJWK

ALGORITHMS = {
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
}
"""The algorithms by key type and curve. A key without `alg` has the first one.

HMAC is absent, because a published key is not secret.
"""

ALGORITHM_ALIASES = {"EdDSA": ("EdDSA", "Ed25519"), "Ed25519": ("EdDSA", "Ed25519")}
"""The two names of one algorithm: RFC 9864 replaces EdDSA by names that include the curve."""

CANDIDATES = 16
"""The most keys that are tried for one token. Issuers publish two to ten keys."""


class Document(msgspec.Struct):
    """A JSON Web Key Set: RFC 7517, section 5."""

    keys: list[Any]


class PublicKey(msgspec.Struct):
    """A JSON Web Key that verifies signatures: RFC 7517, section 4. PyJWT reads the numbers of the key."""

    kty: Literal["OKP", "EC", "RSA"]
    crv: str | None = None
    alg: str | None = None
    use: Literal["sig"] = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    kid: Annotated[str, Meta(max_length=KEY_ID_LENGTH)] | None = None
    d: None = None
    """The private key. It must be absent: anyone could sign with a private key that is published."""


class Keys:
    """The usable keys of one key set, by id and algorithm. Several keys may have the same id. A key may have no id."""

    def __init__(self) -> None:
        self._by_id: defaultdict[tuple[str | None, str], list[Key]] = defaultdict(list)
        self._by_algorithm: defaultdict[str, list[Key]] = defaultdict(list)
        self._ids: set[str | None] = set()

    def __bool__(self) -> bool:
        return bool(self._by_algorithm)

    def add(self, key_id: str | None, key: Key) -> None:
        """Add a key under each name of its algorithm."""
        self._ids.add(key_id)
        for name in ALGORITHM_ALIASES.get(key.algorithm_name, (key.algorithm_name,)):
            named = copy.copy(key)
            named.algorithm_name = name  # PyJWT compares it with the token's `alg`
            self._by_id[key_id, name].append(named)
            self._by_algorithm[name].append(named)

    def has_key_id(self, key_id: str | None) -> bool:
        """Whether a key has this id. If so, only keys with this id can have signed a token with this `kid`."""
        return key_id is not None and key_id in self._ids

    def candidates(self, token: UnverifiedToken) -> list[Key]:
        """Return the keys that may have signed the token: the keys with its `kid` and `alg`.

        Without `kid`, these are all keys with its `alg`. If no key has its `kid`, these are the keys without an id.
        """
        if token.key_id is None:
            found = self._by_algorithm.get(token.algorithm, [])
        else:
            id = token.key_id if self.has_key_id(token.key_id) else None
            found = self._by_id.get((id, token.algorithm), [])
        return found[:CANDIDATES]


def signed_by(key: Key, token: UnverifiedToken) -> bool:
    """Whether the key made the token's signature. The claims are not checked."""
    message, signature = token.signed
    return bool(key.Algorithm.verify(message, key.key, signature))


def usable_keys(document: bytes) -> Keys:
    """Return the usable keys of a JSON Web Key Set. Log a warning for each key that is skipped.

    Raises ValueError or msgspec.DecodeError when no key is usable.
    """
    keys = Keys()
    for number, entry in enumerate(msgspec.json.decode(document, type=Document).keys, 1):
        try:
            jwk = msgspec.convert(entry, PublicKey)
            allowed = ALGORITHMS.get((jwk.kty, jwk.crv), ())
            algorithm = jwk.alg or next(iter(allowed), None)
            if algorithm not in allowed or "verify" not in jwk.key_ops:
                raise ValueError("it is not for verifying signatures with an accepted algorithm")
            key = Key(entry, "EdDSA" if algorithm == "Ed25519" else algorithm)  # PyJWT has only the older name
            if too_short := key.Algorithm.check_key_length(key.key):
                raise ValueError(too_short)
            keys.add(jwk.kid, key)
        except (ValueError, msgspec.ValidationError, jwt.PyJWTError) as error:
            logger.warning("Key %d of the key set is skipped: %s", number, error)
    if not keys:
        raise ValueError("it has no usable key")
    return keys
