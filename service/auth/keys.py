"""The keys that verify tokens: the shared secret, or the keys of a JSON Web Key Set. Each has exactly one algorithm.

A token never chooses how its signature is verified: its `alg` must be the algorithm of the key (RFC 8725, section 3.1).
"""

import hmac
import logging
from base64 import urlsafe_b64encode
from typing import Annotated, Any, Literal

import jwt
import msgspec
from msgspec import Meta

from service.auth.token import KEY_ID, Malformed, Unverified
from service.settings import SettingsError

logger = logging.getLogger("service.auth")

Key = jwt.PyJWK

ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", None): "RS256"}
"""By key type and curve. HMAC is absent: a published key is not secret."""


class SharedSecret:
    """The HS256 key that the issuer and this service share."""

    algorithms = ("HS256",)

    def __init__(self, secret: str) -> None:
        """Raises SettingsError when `secret` is a public key, which anyone may have."""
        self._key = Key({"kty": "oct", "k": urlsafe_b64encode(secret.encode()).decode()}, "HS256")
        try:
            self._key.Algorithm.prepare_key(self._key.key)
        except jwt.InvalidKeyError:
            raise SettingsError("JWT_SECRET is a public key, a certificate or a JWK") from None

    async def find(self, bearer: Unverified) -> Key:
        """The secret, whatever key the token names. Raises Malformed for a signature that is not by the secret.

        PyJWT verifies every token that passes. This check only rejects forged tokens sooner: in 13 us where PyJWT needs
        42. It adds 2 us to a valid token.
        """
        signed, _, signature = bearer.token.rpartition(b".")
        digest = urlsafe_b64encode(hmac.digest(self._key.key, signed, "sha256")).rstrip(b"=")
        if not hmac.compare_digest(digest, signature):
            raise Malformed("the signature is not by JWT_SECRET")
        return self._key


class Document(msgspec.Struct):
    """A JSON Web Key Set: RFC 7517, section 5."""

    keys: list[Any]


class PublicKey(msgspec.Struct):
    """A JSON Web Key that may verify signatures: RFC 7517, section 4. PyJWT reads the numbers of the key."""

    kty: Literal["OKP", "EC", "RSA"]
    crv: str | None = None
    alg: str | None = None
    use: Literal["sig"] = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    kid: Annotated[str, Meta(pattern=KEY_ID)] | None = None
    d: None = None
    """The private half. Once it is published, anyone can sign with the key."""


def usable_keys(document: bytes) -> dict[str | None, Key]:
    """The usable keys of a JSON Web Key Set, by their id. Logs a warning for each key that is skipped.

    Raises ValueError or msgspec.DecodeError when no key is usable.
    """
    keys: dict[str | None, Key] = {}
    for number, entry in enumerate(msgspec.json.decode(document, type=Document).keys, 1):
        try:
            jwk = msgspec.convert(entry, PublicKey)
            algorithm = ALGORITHMS.get((jwk.kty, jwk.crv))
            if algorithm is None or jwk.alg not in (None, algorithm) or "verify" not in jwk.key_ops:
                raise ValueError(f"its algorithm is none of {', '.join(ALGORITHMS.values())}")
            if jwk.kid in keys:
                raise ValueError("an earlier key has the same id")
            key = Key(entry, algorithm)
            if too_short := key.Algorithm.check_key_length(key.key):
                raise ValueError(too_short)
            keys[jwk.kid] = key
        except (ValueError, msgspec.ValidationError, jwt.PyJWTError) as error:
            logger.warning("Key %d of the key set is skipped: %s", number, error)
    if not keys:
        raise ValueError("it has no usable key")
    return keys
