"""Tokens signed with a secret and with each type of key: which are accepted, which are refused, and the cache."""

import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.auth import authenticator as auth
from service.auth.authenticator import Authenticator, issue_token
from service.settings import Settings, SettingsError
from tests.tokens import (
    ADA,
    BOB,
    ED,
    KEYS,
    LEEWAY,
    SECRET,
    SIGNERS,
    STRANGER,
    Secret,
    Signer,
    SigningKey,
    base64url,
    claims,
    credentials,
    header_text,
    key_set,
    other_last_character,
    refused_status,
    running,
)


@pytest.fixture(params=SIGNERS)
def signer(request: pytest.FixtureRequest) -> Signer:
    return SIGNERS[request.param]


@pytest.fixture
def key_settings(signer: Signer, tmp_path: Path) -> dict[str, Any]:
    if isinstance(signer, Secret):
        return {"jwt_secret": signer.secret.decode()}
    (tmp_path / "jwks.json").write_bytes(key_set(signer))
    return {"jwks_file": str(tmp_path / "jwks.json")}


@pytest.fixture
async def authenticator(key_settings: dict[str, Any]) -> AsyncIterator[Authenticator]:
    async with running(**key_settings) as authenticator:
        yield authenticator


# ---------------------------------------------------------------------------------------------- accepted tokens


async def test_verify_gives_the_user_of_the_token(authenticator: Authenticator, signer: Signer) -> None:
    user = await authenticator.verify(credentials(signer))
    assert (user.id_text, str(user.id)) == (ADA, ADA)


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        pytest.param({"typ": None}, {}, id="no typ"),
        pytest.param({"typ": '"at+jwt"'}, {}, id="typ of an access token"),
        pytest.param({"typ": '"application/AT+JWT"'}, {}, id="typ in full and upper case"),
        pytest.param({"kid": None}, {}, id="no kid, and one key"),
        pytest.param({"cty": '"x"', "x5t": '"y"'}, {}, id="harmless headers"),
        pytest.param({"jku": '"http://127.0.0.1:1/jwks"', "x5u": '"http://127.0.0.1:1/x5u"'}, {}, id="jku, x5u"),
        pytest.param({"jwk": json.dumps(STRANGER.jwk), "x5c": '["MII"]'}, {}, id="jwk, x5c"),
        pytest.param({}, {"sub": f'"{ADA.upper()}"'}, id="sub in upper case"),
        pytest.param({}, {"exp": str(time.time() + 3600.5)}, id="exp with a fraction"),
        pytest.param({}, {"iat": None}, id="no iat"),
        pytest.param({}, {"aud": '["web", "app"]', "iss": '"anyone"'}, id="aud and iss that no setting requires"),
        pytest.param({}, {"role": '"user"', "nested": '{"a": [1]}'}, id="other claims"),
    ],
)
async def test_verify_accepts_the_variants_of_issuers(
    authenticator: Authenticator, signer: Signer, header: dict[str, str], payload: dict[str, str]
) -> None:
    authorization = credentials(signer, header_text(signer, **header), claims(**payload))
    assert (await authenticator.verify(authorization)).id_text == ADA


@pytest.mark.parametrize("scheme", [b"bearer ", b"BEARER ", b"Bearer  "])
async def test_verify_accepts_the_scheme_in_any_case(scheme: bytes) -> None:
    async with running(jwt_secret=SECRET.secret.decode()) as authenticator:
        authorization = credentials(SECRET).replace(b"Bearer ", scheme)
        assert (await authenticator.verify(authorization)).id_text == ADA


@pytest.mark.parametrize(
    ("claim", "seconds", "accepted"),
    [
        ("exp", -LEEWAY + 5, True),
        ("exp", -LEEWAY - 1, False),
        ("nbf", LEEWAY - 5, True),
        ("nbf", LEEWAY + 5, False),
        ("iat", LEEWAY - 5, True),
        ("iat", LEEWAY + 5, False),
    ],
)
async def test_verify_allows_the_leeway_and_no_more(claim: str, seconds: int, accepted: bool) -> None:
    authorization = credentials(SECRET, payload=claims(**{claim: str(int(time.time()) + seconds)}))
    async with running(jwt_secret=SECRET.secret.decode()) as authenticator:
        if accepted:
            assert (await authenticator.verify(authorization)).id_text == ADA
        else:
            assert await refused_status(authenticator, authorization) == 401


# ---------------------------------------------------------------------------------------------- refused tokens

CLAIMS: dict[str, dict[str, str | None]] = {
    "exp missing": {"exp": None},
    "exp null": {"exp": "null"},
    "exp true": {"exp": "true"},
    "exp list": {"exp": "[4102444800]"},
    "exp string": {"exp": '"1795380789"'},
    "exp 1e308": {"exp": "1e308"},
    "exp 1e999": {"exp": "1e999"},
    "exp 10**400": {"exp": "1" + "0" * 400},
    "exp of 5,000 digits": {"exp": "1" * 5000},
    "exp NaN": {"exp": "NaN"},
    "exp Infinity": {"exp": "Infinity"},
    "exp 0": {"exp": "0"},
    "exp negative": {"exp": "-1"},
    "exp in milliseconds": {"exp": str(int(time.time() + 3600) * 1000)},
    "exp twice": {"exp": '1, "exp": 4102444800'},
    "nbf in the future": {"nbf": str(int(time.time()) + 600)},
    "nbf string": {"nbf": '"0"'},
    "nbf null": {"nbf": "null"},
    "nbf 1e999": {"nbf": "1e999"},
    "iat in the future": {"iat": str(int(time.time()) + 600)},
    "iat true": {"iat": "true"},
    "iat -Infinity": {"iat": "-Infinity"},
    "sub missing": {"sub": None},
    "sub null": {"sub": "null"},
    "sub int": {"sub": "1"},
    "sub of 32 digits": {"sub": "1" * 32},
    "sub empty": {"sub": '""'},
    "sub list": {"sub": f'["{ADA}"]'},
    "sub with NUL": {"sub": f'"{ADA}\\u0000"'},
    "sub no UUID": {"sub": '"ada@example.org"'},
    "sub in braces": {"sub": f'"{{{ADA}}}"'},
    "sub urn": {"sub": f'"urn:uuid:{ADA}"'},
    "sub without dashes": {"sub": f'"{ADA.replace("-", "")}"'},
    "sub with dashes elsewhere": {"sub": '"a1b2c3d4e5f6-4a7b-8c9d-0e1f2a-3b4c5d"'},
    "sub with an underscore": {"sub": '"a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b_c5d"'},
    "sub in full-width digits": {"sub": '"\uff111b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"'},
    "sub with a lone surrogate": {"sub": '"\\ud800"'},
    "sub twice": {"sub": f'"{ADA}", "sub": "{BOB}"'},
    "a member twice, deeper": {"more": '{"a": 1, "a": 2}'},
    "deep": {"more": "[" * 2500 + "]" * 2500},
    "NaN elsewhere": {"more": "NaN"},
    "jti list": {"jti": "[]"},
}


@pytest.mark.parametrize("changes", CLAIMS.values(), ids=CLAIMS)
async def test_verify_refuses_the_claims(
    authenticator: Authenticator, signer: Signer, changes: dict[str, str | None]
) -> None:
    assert await refused_status(authenticator, credentials(signer, payload=claims(**changes))) == 401


PAYLOADS = {
    "list": "[]",
    "string": '"x"',
    "null": "null",
    "no JSON": "sub",
    "text after it": "{} {}",
    "byte order mark": "\ufeff{}",
    "5,000 digits": "1" * 5000,
    "5,000 brackets": "[" * 5000,
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_verify_refuses_a_payload_that_is_no_object(
    authenticator: Authenticator, signer: Signer, payload: str
) -> None:
    assert await refused_status(authenticator, credentials(signer, payload=payload)) == 401
    assert await refused_status(authenticator, credentials(signer, header=payload)) == 401


HEADERS: dict[str, dict[str, str | None]] = {
    "alg none": {"alg": '"none"'},
    "alg None": {"alg": '"None"'},
    "alg nOnE": {"alg": '"nOnE"'},
    "alg list": {"alg": '["HS256", "EdDSA", "ES256", "RS256"]'},
    "alg null": {"alg": "null"},
    "alg missing": {"alg": None},
    "alg of the same family": {"alg": '"HS512"'},
    "alg of another": {"alg": '"PS256"'},
    "alg twice": {"alg": '"none", "alg": "HS256"'},
    "kid int": {"kid": "1"},
    "kid null": {"kid": "null"},
    "kid of 513 characters": {"kid": '"' + "k" * 513 + '"'},
    "crit": {"crit": '["exp"]'},
    "crit empty": {"crit": "[]"},
    "b64 false": {"b64": "false", "crit": '["b64"]'},
    "b64 true": {"b64": "true"},
    "typ of an ID token of another kind": {"typ": '"dpop+jwt"'},
    "typ list": {"typ": '["JWT"]'},
    "typ null": {"typ": "null"},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
async def test_verify_refuses_the_header(
    authenticator: Authenticator, signer: Signer, changes: dict[str, str | None]
) -> None:
    assert await refused_status(authenticator, credentials(signer, header_text(signer, **changes))) == 401


TOKENS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda token: b"",
    "Bearer alone": lambda token: b"Bearer",
    "Bearer and a space": lambda token: b"Bearer ",
    "no scheme": lambda token: token,
    "Basic": lambda token: b"Basic YTpi",
    "another scheme": lambda token: b"Token " + token,
    "no space": lambda token: b"Bearer" + token,
    "a tab": lambda token: b"Bearer\t" + token,
    "two tokens": lambda token: b"Bearer " + token + b", Bearer " + token,
    "a space after it": lambda token: b"Bearer " + token + b" ",
    "a line end after it": lambda token: b"Bearer " + token + b"\n",
    "latin-1": lambda token: b"Bearer \xe4." + token,
    "control bytes": lambda token: b"Bearer \x00\x01." + token,
    "1 MB": lambda token: b"Bearer " + token + b"A" * 1_000_000,
    "1 MB of spaces": lambda token: b"Bearer" + b" " * 1_000_000 + token,
    "opaque": lambda token: b"Bearer mF_9.B5f-4.1JqM",
    "two segments": lambda token: b"Bearer " + token.rpartition(b".")[0],
    "four segments": lambda token: b"Bearer " + token + b".AAAA",
    "an empty segment": lambda token: b"Bearer ." + token.partition(b".")[2],
    "signature stripped": lambda token: b"Bearer " + token.rpartition(b".")[0] + b".",
    "signature cut": lambda token: b"Bearer " + token[:-4],
    "signature longer": lambda token: b"Bearer " + token + b"AAAA",
    "signature altered": lambda token: (
        b"Bearer " + token[:-8] + (b"AAAAAAAA" if token[-8:] != b"AAAAAAAA" else b"B" * 8)
    ),
    "signature padded": lambda token: b"Bearer " + token + b"=" * (-len(token.rpartition(b".")[2]) % 4),
    "signature not canonical": lambda token: b"Bearer " + other_last_character(token),
    "payload of another": lambda token: b".".join(
        [b"Bearer " + token.split(b".")[0], base64url(claims(sub=f'"{BOB}"').encode()), token.split(b".")[2]]
    ),
}


@pytest.mark.parametrize("form", TOKENS.values(), ids=TOKENS)
async def test_verify_refuses_the_form(
    authenticator: Authenticator, signer: Signer, form: Callable[[bytes], bytes]
) -> None:
    authorization = form(credentials(signer).removeprefix(b"Bearer "))
    assert await refused_status(authenticator, authorization) == (431 if len(authorization) > 8199 else 401)


@pytest.mark.parametrize("limit", [1024, 8192, 14336])
async def test_verify_refuses_a_token_over_the_limit(limit: int) -> None:
    token = credentials(SECRET, payload=claims(padding=f'"{"x" * (limit // 2)}"')).removeprefix(b"Bearer ")
    longest = b"Bearer " + token.rjust(limit)
    async with running(jwt_secret=SECRET.secret.decode(), max_token_bytes=limit) as authenticator:
        assert (await authenticator.verify(longest)).id_text == ADA
        assert await refused_status(authenticator, longest.replace(b" ", b"  ", 1)) == 431


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_verify_refuses_hmac_with_the_public_key(key: SigningKey, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(key_set(key))
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    async with running(jwks_file=str(tmp_path / "jwks.json")) as authenticator:
        for secret in (pem, der, json.dumps(key.jwk).encode()):
            signed = credentials(key, header_text(key, alg='"HS256"')).rpartition(b".")[0]
            digest = hmac.digest(secret, signed.removeprefix(b"Bearer "), "sha256")
            assert await refused_status(authenticator, signed + b"." + base64url(digest)) == 401


async def test_verify_refuses_another_key_and_another_family(authenticator: Authenticator, signer: Signer) -> None:
    others: list[Signer] = [Secret(b"x" * 64), *(SigningKey(algorithm, "key-1", pair=1) for algorithm in KEYS)]
    for other in others:
        assert await refused_status(authenticator, credentials(other)) == 401


async def test_verify_refuses_a_forged_token_before_pyjwt_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(jwt_secret=SECRET.secret.decode()) as authenticator:
        read: list[bytes] = []
        monkeypatch.setattr("jwt.decode", lambda token, *_, **__: read.append(token))
        assert await refused_status(authenticator, credentials(Secret(b"x" * 64))) == 401
        assert not read


@pytest.mark.parametrize(
    ("issuer_claim", "audience_claim", "accepted"),
    [
        ('"https://id.example"', '"tasks"', True),
        ('"https://id.example"', '["web", "tasks"]', True),
        ('"https://id.example/"', '"tasks"', False),
        ('"https://id.exampl"', '"tasks"', False),
        ('"HTTPS://id.example"', '"tasks"', False),
        ('["https://id.example"]', '"tasks"', False),
        (None, '"tasks"', False),
        ('"https://id.example"', '"task"', False),
        ('"https://id.example"', '"tasks2"', False),
        ('"https://id.example"', '["tasks2", "task"]', False),
        ('"https://id.example"', '["tasks", 1]', False),
        ('"https://id.example"', '{"tasks": 1}', False),
        ('"https://id.example"', "[]", False),
        ('"https://id.example"', '""', False),
        ('"https://id.example"', None, False),
    ],
)
async def test_verify_checks_issuer_and_audience_when_set(
    key_settings: dict[str, Any],
    signer: Signer,
    issuer_claim: str | None,
    audience_claim: str | None,
    accepted: bool,
) -> None:
    authorization = credentials(signer, payload=claims(iss=issuer_claim, aud=audience_claim))
    async with running(**key_settings, jwt_issuer="https://id.example", jwt_audience="tasks") as authenticator:
        if accepted:
            assert (await authenticator.verify(authorization)).id_text == ADA
        else:
            assert await refused_status(authenticator, authorization) == 401


async def test_verify_logs_no_part_of_a_token(
    authenticator: Authenticator, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for changes in CLAIMS.values():
        authorization = credentials(signer, payload=claims(**changes))
        await refused_status(authenticator, authorization)
        assert not any(segment.decode() in caplog.text for segment in authorization[7:].split(b"."))
    assert "refused" in caplog.text
    assert ADA not in caplog.text


@pytest.mark.parametrize("named", [{}, {"jwt_issuer": "https://id.example", "jwt_audience": "tasks"}])
async def test_issue_token_returns_a_token_that_verify_accepts(named: dict[str, str]) -> None:
    values = {"database_url": "postgresql://", "jwt_secret": SECRET.secret.decode(), **named}
    settings = msgspec.convert(values, Settings)
    token = issue_token(settings, UUID(ADA), 3600)
    assert (await Authenticator(settings).verify(b"Bearer " + token.encode())).id_text == ADA


def test_issue_token_without_the_secret_names_it() -> None:
    with pytest.raises(SettingsError, match="JWT_SECRET"):
        issue_token(Settings(database_url="postgresql://", jwks_file="jwks.json"), UUID(ADA), 3600)


@pytest.mark.parametrize("public", ["pem", "jwk"])
def test_public_secret_stops_the_start(public: str) -> None:
    pem = ED.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secret = {"pem": pem.decode(), "jwk": json.dumps(ED.jwk)}[public]
    with pytest.raises(SettingsError, match="JWT_SECRET") as caught:
        Authenticator(Settings(database_url="postgresql://", jwt_secret=secret))
    assert secret not in str(caught.value)


# ---------------------------------------------------------------------------------------------- the cache


async def test_cached_gives_the_same_user_only_after_verify(authenticator: Authenticator, signer: Signer) -> None:
    authorization = credentials(signer)
    assert authenticator.cached(authorization) is None
    user = await authenticator.verify(authorization)
    assert authenticator.cached(authorization) is user
    assert authenticator.cached(authorization + b"A") is None
    assert (authenticator.cached_tokens, authenticator.misses) == (1, 1)


@pytest.mark.parametrize(("exp", "lifetime"), [(3600, auth.CACHE_SECONDS), (20, 20 + LEEWAY)])
async def test_cached_token_is_dropped_at_expiry_or_after_a_minute(exp: int, lifetime: float) -> None:
    now = clock = time.time()
    async with running(clock=lambda: clock, jwt_secret=SECRET.secret.decode()) as authenticator:
        authorization = credentials(SECRET, payload=claims(exp=str(int(now) + exp)))
        user = await authenticator.verify(authorization)
        assert now + lifetime - 1 <= user.expires <= time.time() + lifetime
        clock = user.expires - 0.001
        assert authenticator.cached(authorization) is user
        clock = user.expires
        assert authenticator.cached(authorization) is None


async def test_cache_drops_the_oldest_first() -> None:
    async with running(jwt_secret=SECRET.secret.decode(), token_cache_size=3) as authenticator:
        values = [credentials(SECRET, payload=claims(jti=f'"{number}"')) for number in range(5)]
        for value in values[:3]:
            await authenticator.verify(value)
        await authenticator.verify(values[1])  # verified again, so now the newest
        for value in values[3:]:
            await authenticator.verify(value)
        assert [bool(authenticator.cached(value)) for value in values] == [False, True, False, True, True]
        assert authenticator.cached_tokens == 3


async def test_cache_holds_a_token_in_one_spelling_only() -> None:
    async with running(jwt_secret=SECRET.secret.decode()) as authenticator:
        authorization = credentials(SECRET)
        for scheme in (b"bearer ", b"BEARER ", b"Bearer  ", b"Bearer   ", b"Bearer "):
            assert (await authenticator.verify(authorization.replace(b"Bearer ", scheme))).id_text == ADA
        assert authenticator.cached_tokens == 1
        assert authenticator.cached(authorization)


async def test_cache_of_size_0_keeps_nothing() -> None:
    async with running(jwt_secret=SECRET.secret.decode(), token_cache_size=0) as authenticator:
        await authenticator.verify(credentials(SECRET))
        assert authenticator.cached(credentials(SECRET)) is None
        assert authenticator.cached_tokens == 0
