"""Signing keys, valid and invalid tokens, and an Authenticator that verifies them."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from service.api.exceptions import problem_for
from service.auth.authenticator import Authenticator
from service.auth.errors import InvalidToken, KeysUnavailable, TokenTooLarge
from service.auth.jwks import LIMITS, JwksLimits
from service.settings import Settings

ALGORITHMS: dict[str, Algorithm] = get_default_algorithms()
ALGORITHMS["Ed25519"] = ALGORITHMS["EdDSA"]

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@cache
def _rsa_private_key(pair: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


class SigningKey:
    """A private key. `jwk` is its public half, with the id `kid` if it has one.

    It takes 0.1 s to generate an RSA key, so the tests share a few: another `pair` gives another key.
    """

    def __init__(self, algorithm: str, kid: str | None = None, pair: int = 0) -> None:
        self.algorithm = algorithm
        self.private: Any
        match algorithm[:2]:
            case "Ed":
                self.private = ed25519.Ed25519PrivateKey.generate()
            case "ES":
                self.private = ec.generate_private_key(CURVES[algorithm])
            case "RS" | "PS":
                self.private = _rsa_private_key(pair)
        self.jwk: dict[str, str] = json.loads(ALGORITHMS[algorithm].to_jwk(self.private.public_key()))
        self.jwk["alg"] = algorithm
        if kid:
            self.jwk["kid"] = kid

    def sign(self, message: bytes) -> bytes:
        return ALGORITHMS[self.algorithm].sign(message, self.private)

    def private_jwk(self) -> dict[str, str]:
        halves: dict[str, str] = json.loads(ALGORITHMS[self.algorithm].to_jwk(self.private))
        return self.jwk | halves


class Secret:
    """The HMAC counterpart of SigningKey."""

    def __init__(self, secret: bytes, algorithm: str = "HS256") -> None:
        self.secret = secret
        self.algorithm = algorithm

    def sign(self, message: bytes) -> bytes:
        return ALGORITHMS[self.algorithm].sign(message, self.secret)


Signer = Secret | SigningKey


def key_set(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.jwk for key in keys]}).encode()


ADA = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
BOB = "b0b0b0b0-0000-4000-8000-00000000000b"
LEEWAY = 10

SECRET = Secret(b"a shared secret of more than 32 bytes")
KEYS = {algorithm: SigningKey(algorithm, "key-1") for algorithm in ("EdDSA", "ES256", "RS256")}
SIGNERS: dict[str, Signer] = {"HS256": SECRET, **KEYS}
ED, ROTATED, STRANGER = KEYS["EdDSA"], SigningKey("EdDSA", "key-2"), SigningKey("EdDSA", "key-3")


def credentials(signer: Signer, header: str | None = None, payload: str | None = None) -> bytes:
    """The value of an Authorization header: a signed token of these two texts, which may be invalid JSON."""
    signed = base64url((header or header_text(signer)).encode()) + b"." + base64url((payload or claims()).encode())
    return b"Bearer " + signed + b"." + base64url(signer.sign(signed))


def header_text(signer: Signer, **changes: str | None) -> str:
    members = {"alg": json.dumps(signer.algorithm), "typ": '"JWT"'}
    if isinstance(signer, SigningKey) and "kid" in signer.jwk:
        members["kid"] = json.dumps(signer.jwk["kid"])
    return json_text(members | changes)


def claims(**changes: str | None) -> str:
    now = int(time.time())
    return json_text({"sub": f'"{ADA}"', "iat": str(now - 60), "exp": str(now + 3600)} | changes)


def json_text(members: dict[str, Any]) -> str:
    """A JSON object whose values are given as JSON: json.dumps cannot write `1e999` or a repeated member."""
    return "{" + ", ".join(f'"{name}": {value}' for name, value in members.items() if value is not None) + "}"


def other_last_character(token: bytes) -> bytes:
    """The token with its last bit flipped. That bit is padding of base64url, so the decoded signature is the same."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(token[-1:]) ^ 1
    return token[:-1] + alphabet[last : last + 1]


@asynccontextmanager
async def running(
    limits: JwksLimits = LIMITS, clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[Authenticator]:
    """Open an Authenticator with these settings, and close it at the end."""
    chosen = Settings(database_url="postgresql://", jwt_leeway=LEEWAY, **settings)
    authenticator = Authenticator(chosen, limits, clock)
    await authenticator.open()
    try:
        yield authenticator
    finally:
        await authenticator.close()


async def refused_status(authenticator: Authenticator, authorization: bytes) -> int:
    """The status of the answer to a token that verify() refuses."""
    with pytest.raises((InvalidToken, TokenTooLarge, KeysUnavailable)) as caught:
        await authenticator.verify(authorization)
    assert authenticator.cached(authorization) is None
    return problem_for(caught.value).type.status
