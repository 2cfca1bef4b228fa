"""Which key verifies a token: any key id, no key id, shared key ids, all algorithms, and keys in a token's header."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.jwks_server import JwksServer
from tests.tokens import (
    ADA,
    ED,
    ROTATED,
    STRANGER,
    Secret,
    SigningKey,
    credentials,
    header_text,
    key_set,
    refused_status,
    running,
)

ASYMMETRIC_ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    issuer = JwksServer(key_set(ED))
    yield issuer
    issuer.stop()


KEY_IDS = {
    "base64 with a slash": "Ct5g5/Zq+oW1bXG6d4mNnE8kJ3U=",
    "a path": "../../dev/null",
    "SQL": "' or 1=1--",
    "a URL": "https://id.example/keys?kid=1#a b",
    "a line end": "key-1\n",
    "empty": "",
    "NUL": "\u0000",
    "not ASCII": "clé-\U0001f511",
    "a lone surrogate": "\ud800",
    "of 512 characters": "k" * 512,
}


@pytest.mark.parametrize("key_id", KEY_IDS.values(), ids=KEY_IDS)
async def test_key_id_is_any_string_and_only_looked_up(key_id: str, issuer: JwksServer) -> None:
    key = SigningKey("EdDSA")
    token = credentials(key, header_text(key, kid=json.dumps(key_id)))
    async with running(jwks_url=issuer.url) as authenticator:
        assert await refused_status(authenticator, token) == 401
        assert issuer.targets == ["/jwks"] * issuer.fetches

    if key_id != "\ud800":  # a key set cannot contain it: msgspec refuses a lone surrogate
        key.jwk["kid"] = key_id
        issuer.document = key_set(ED, key)
        async with running(jwks_url=issuer.url) as authenticator:
            assert (await authenticator.verify(token)).id_text == ADA


@pytest.mark.parametrize("algorithm", ASYMMETRIC_ALGORITHMS)
async def test_key_verifies_every_algorithm(algorithm: str, issuer: JwksServer) -> None:
    key = SigningKey(algorithm, "key-9")
    issuer.document = key_set(ED, key)
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(key))).id_text == ADA


@pytest.mark.parametrize(("in_key", "in_token"), [("EdDSA", "Ed25519"), ("Ed25519", "EdDSA"), (None, "Ed25519")])
async def test_key_of_ed25519_has_two_names(in_key: str | None, in_token: str, issuer: JwksServer) -> None:
    key = SigningKey("EdDSA", "key-9")
    key.jwk.pop("alg")
    key.jwk |= {"alg": in_key} if in_key else {}
    issuer.document = key_set(key)
    async with running(jwks_url=issuer.url) as authenticator:
        token = credentials(key, header_text(key, alg=json.dumps(in_token)))
        assert (await authenticator.verify(token)).id_text == ADA


@pytest.mark.parametrize(
    "algorithm", [name for name in ASYMMETRIC_ALGORITHMS if name[:2] in ("RS", "PS") and name != "RS256"]
)
async def test_key_of_rsa_without_alg_is_for_rs256_alone(algorithm: str, issuer: JwksServer) -> None:
    key = SigningKey(algorithm, "key-9")
    del key.jwk["alg"]
    issuer.document = key_set(key)
    async with running(jwks_url=issuer.url) as authenticator:
        assert await refused_status(authenticator, credentials(key)) == 401
        key.algorithm = "RS256"
        assert (await authenticator.verify(credentials(key))).id_text == ADA


@pytest.mark.parametrize(
    ("algorithm", "length", "accepted"),
    [
        ("HS256", 32, True),
        ("HS384", 47, False),
        ("HS384", 48, True),
        ("HS512", 63, False),
        ("HS512", 64, True),
        ("HS256", 64, True),
    ],
)
async def test_secret_verifies_the_algorithms_it_is_long_enough_for(
    algorithm: str, length: int, accepted: bool
) -> None:
    secret = Secret(b"s" * length, algorithm)
    async with running(jwt_secret="s" * length) as authenticator:
        if accepted:
            assert (await authenticator.verify(credentials(secret))).id_text == ADA
        else:
            assert await refused_status(authenticator, credentials(secret)) == 401


NAMELESS: dict[str, dict[str, str | None]] = {"no kid": {"kid": None}, "x5t only": {"kid": None, "x5t": '"dGh1bWI"'}}


@pytest.mark.parametrize("header", NAMELESS.values(), ids=NAMELESS)
async def test_token_without_kid_is_tried_with_the_keys_of_its_algorithm(
    header: dict[str, str | None], issuer: JwksServer
) -> None:
    keys = [SigningKey("ES256", "a"), SigningKey("ES256", "b"), SigningKey("RS256", "c")]
    issuer.document = key_set(*keys)
    async with running(jwks_url=issuer.url) as authenticator:
        for key in keys:
            assert (await authenticator.verify(credentials(key, header_text(key, **header)))).id_text == ADA
        assert issuer.fetches == 1


async def test_token_with_a_kid_is_tried_with_keys_without_an_id(issuer: JwksServer) -> None:
    key = SigningKey("ES256")
    issuer.document = key_set(ED, key)
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(key, header_text(key, kid='"key-9"')))).id_text == ADA
        forged = SigningKey("ES256", "key-1")  # the id of a key with another algorithm
        assert await refused_status(authenticator, credentials(forged)) == 401


async def test_token_whose_kid_several_keys_share_is_tried_with_each(issuer: JwksServer) -> None:
    keys = [SigningKey("ES256", "same"), SigningKey("ES256", "same"), SigningKey("EdDSA", "same")]
    issuer.document = key_set(*keys)
    async with running(jwks_url=issuer.url) as authenticator:
        for key in keys:
            assert (await authenticator.verify(credentials(key))).id_text == ADA
        assert await refused_status(authenticator, credentials(SigningKey("ES256", "same"))) == 401
        assert issuer.fetches == 1  # the id is known, so the key set is not read before the next refresh


async def test_token_without_kid_is_tried_with_16_keys_at_most(issuer: JwksServer) -> None:
    keys = [SigningKey("ES256", f"key-{number}") for number in range(17)]
    issuer.document = key_set(*keys)
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(keys[15], header_text(keys[15], kid=None)))).id_text == ADA
        assert await refused_status(authenticator, credentials(keys[16], header_text(keys[16], kid=None))) == 401
        assert (await authenticator.verify(credentials(keys[16]))).id_text == ADA


@pytest.mark.parametrize("others", [[], [SigningKey("EdDSA")]], ids=["the only key", "one of two keys"])
async def test_token_without_kid_by_a_key_that_was_replaced_is_waited_for(
    others: list[SigningKey], issuer: JwksServer
) -> None:
    old, new = SigningKey("EdDSA"), SigningKey("EdDSA")
    issuer.document = key_set(old, *others)
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(old))).id_text == ADA
        issuer.document = key_set(new, *others)
        assert (await authenticator.verify(credentials(new))).id_text == ADA
        assert issuer.fetches == 2


KEYS_IN_HEADERS: dict[str, dict[str, Any]] = {
    "jwk": {"jwk": STRANGER.jwk},
    "jku": {"jku": "URL"},
    "x5u": {"x5u": "URL"},
    "x5c": {"x5c": ["MII"]},
}


@pytest.mark.parametrize("header", KEYS_IN_HEADERS.values(), ids=KEYS_IN_HEADERS)
async def test_key_in_a_header_is_neither_used_nor_fetched(header: dict[str, Any], issuer: JwksServer) -> None:
    elsewhere = JwksServer(key_set(STRANGER))
    texts = {name: json.dumps(value).replace("URL", elsewhere.url) for name, value in header.items()}
    try:
        async with running(jwks_url=issuer.url, jwks_cooldown=0.05) as authenticator:
            assert (await authenticator.verify(credentials(ED, header_text(ED, **texts)))).id_text == ADA
            for kid in ('"key-1"', '"key-3"', None):
                forged = credentials(STRANGER, header_text(STRANGER, kid=kid, **texts))
                assert await refused_status(authenticator, forged) in (401, 503)
            assert authenticator.refusals.counts.keys() <= {"signature", "unknown_key", "keys_unavailable"}
        assert elsewhere.fetches == 0
    finally:
        elsewhere.stop()


async def test_key_of_a_rotation_may_have_another_algorithm(issuer: JwksServer) -> None:
    new = SigningKey("PS512", "key-9")
    async with running(jwks_url=issuer.url) as authenticator:
        await authenticator.verify(credentials(ED))
        issuer.document = key_set(ED, ROTATED, new)
        assert (await authenticator.verify(credentials(new))).id_text == ADA
