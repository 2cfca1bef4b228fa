"""The issuer's key set: usable keys, rotation, and an issuer that is slow, unreachable or returns bad documents."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from service.app import create_app
from service.auth.jwks import JwksLimits
from service.db.database import Database
from service.observability.log import STDOUT, Output
from service.settings import SettingsError, read_settings
from tests.jwks_server import JwksServer
from tests.serving import serving, until, until_async
from tests.tokens import (
    ADA,
    ED,
    KEYS,
    ROTATED,
    STRANGER,
    base64url,
    claims,
    credentials,
    header_text,
    key_set,
    other_last_character,
    refused_status,
    running,
)


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    issuer = JwksServer(key_set(ED))
    yield issuer
    issuer.stop()


@pytest.mark.parametrize("algorithm", KEYS)
async def test_jwks_derives_the_algorithm_from_the_key(algorithm: str, issuer: JwksServer) -> None:
    key = KEYS[algorithm]
    issuer.document = json.dumps({"keys": [{k: v for k, v in key.jwk.items() if k != "alg"}]}).encode()
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(key))).id_text == ADA


UNUSABLE: dict[str, Any] = {
    "no object": "key",
    "oct": {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "key-3", "alg": "HS256"},
    "for encryption": STRANGER.jwk | {"use": "enc"},
    "to sign only": STRANGER.jwk | {"key_ops": ["sign"]},
    "private": STRANGER.private_jwk(),
    "of another algorithm": STRANGER.jwk | {"alg": "HS256"},
    "of an unknown curve": STRANGER.jwk | {"crv": "Ed448"},
    "secp256k1": {"kty": "EC", "crv": "secp256k1", "x": "A" * 43, "y": "A" * 43},
    "RSA of 1,024 bits": {"kty": "RSA", "e": "AQAB", "n": base64url(b"\xff" * 128).decode()},
    "not on the curve": KEYS["ES256"].jwk | {"x": "A" * 43, "kid": "key-3"},
    "too short": STRANGER.jwk | {"x": "AAAA"},
    "no text": STRANGER.jwk | {"x": 1},
    "without numbers": {"kty": "OKP", "crv": "Ed25519"},
    "kid no string": STRANGER.jwk | {"kid": 3},
    "kid of 513 characters": STRANGER.jwk | {"kid": "k" * 513},
    "of no algorithm that RSA has": KEYS["RS256"].jwk | {"alg": "ES256", "kid": "key-3"},
}


@pytest.mark.parametrize("jwk", UNUSABLE.values(), ids=UNUSABLE)
async def test_jwks_skips_a_key_that_cannot_be_used(
    jwk: Any, issuer: JwksServer, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.document = json.dumps({"keys": [ED.jwk, jwk]}).encode()
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(ED))).id_text == ADA
        assert await refused_status(authenticator, credentials(STRANGER)) == 401
    assert "Key 2 of the key set is skipped" in caplog.text


async def test_jwks_rotation_is_noticed_at_the_first_new_token(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url) as authenticator:
        await authenticator.verify(credentials(ED))
        issuer.document = key_set(ED, ROTATED)
        assert (await authenticator.verify(credentials(ROTATED))).id_text == ADA
        assert (await authenticator.verify(credentials(ED))).id_text == ADA
        assert issuer.fetches == 2


async def test_jwks_that_drops_a_key_ends_its_tokens(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url, jwks_refresh=0.01) as authenticator:
        withdrawn = credentials(ED)
        await authenticator.verify(withdrawn)
        issuer.document = key_set(ROTATED)
        await until_async(lambda: authenticator.cached(withdrawn) is None)
        assert await refused_status(authenticator, withdrawn) == 401


async def test_jwks_refresh_without_a_change_keeps_the_cache(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url, jwks_refresh=0.01) as authenticator:
        user = await authenticator.verify(credentials(ED))
        seen = issuer.fetches
        await until_async(lambda: issuer.fetches > seen + 2)
        assert authenticator.cached_tokens == 1
        assert user.id_text == ADA


@pytest.mark.parametrize("header", [{}, {"kid": None}], ids=["unknown kid", "no kid and two keys"])
async def test_jwks_unknown_keys_cost_one_fetch(header: dict[str, None], issuer: JwksServer) -> None:
    issuer.document = key_set(ED, ROTATED)
    async with running(JwksLimits(wait=5), jwks_url=issuer.url, jwks_cooldown=60) as authenticator:
        await authenticator.verify(credentials(ED))
        unknown = credentials(STRANGER, header_text(STRANGER, **header))
        assert set(await asyncio.gather(*(refused_status(authenticator, unknown) for _ in range(500)))) == {401}
        assert set(await asyncio.gather(*(refused_status(authenticator, unknown) for _ in range(500)))) == {503}
        assert issuer.fetches == 2


async def test_jwks_new_key_is_never_refused_because_of_a_strangers(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url, jwks_cooldown=0.2) as authenticator:
        await authenticator.verify(credentials(ED))
        assert await refused_status(authenticator, credentials(STRANGER)) == 401
        issuer.document = key_set(ED, ROTATED)
        assert (await authenticator.verify(credentials(ROTATED))).id_text == ADA
        assert issuer.fetches == 3


async def test_jwks_is_fetched_again_for_unknown_keys_after_the_cooldown(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url, jwks_cooldown=1e-9) as authenticator:
        await authenticator.verify(credentials(ED))
        for fetches in (2, 3):
            assert await refused_status(authenticator, credentials(STRANGER)) == 401
            assert issuer.fetches == fetches


async def test_jwks_concurrent_callers_share_one_fetch(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url, jwks_cooldown=1e-9, jwks_refresh=0.05) as authenticator:
        await authenticator.verify(credentials(ED))
        issuer.answering.clear()
        issuer.document = key_set(ROTATED)
        callers = [asyncio.create_task(authenticator.verify(credentials(ROTATED))) for _ in range(50)]
        await until_async(lambda: issuer.fetches == 2)
        callers.pop().cancel()  # must not cancel the read of the other callers
        await asyncio.sleep(0.1)  # meanwhile a refresh is due, and shares the read
        assert issuer.fetches == 2
        issuer.answering.set()
        assert {user.id_text for user in await asyncio.gather(*callers)} == {ADA}


async def test_jwks_start_does_not_wait_for_the_issuer(issuer: JwksServer) -> None:
    issuer.answering.clear()
    async with running(jwks_url=issuer.url) as authenticator:
        first = asyncio.create_task(authenticator.verify(credentials(ED)))
        await until_async(lambda: issuer.fetches == 1)
        assert not first.done()
        issuer.answering.set()
        assert (await first).id_text == ADA


async def test_jwks_issuer_unreachable_at_the_start_recovers(issuer: JwksServer) -> None:
    issuer.stop()
    async with running(JwksLimits(retry=0.01), jwks_url=issuer.url) as authenticator:
        assert await refused_status(authenticator, credentials(ED)) == 503
        issuer.start()
        await until_async(lambda: issuer.fetches > 0)
        assert (await authenticator.verify(credentials(ED))).id_text == ADA


async def test_jwks_unreachable_issuer_still_refuses_invalid_tokens(issuer: JwksServer) -> None:
    issuer.stop()
    async with running(jwks_url=issuer.url) as authenticator:
        for authorization in (
            credentials(ED)[:-1],
            other_last_character(credentials(ED)),
            credentials(ED, header_text(ED, alg='"none"')),
            credentials(ED, header_text(ED, kid='"' + "k" * 513 + '"')),
            credentials(ED, payload=claims(sub='"ada"')),
            credentials(ED, payload=claims(exp=None)),
            credentials(ED, payload="[]"),
        ):
            assert await refused_status(authenticator, authorization) == 401


async def test_jwks_issuer_that_is_slow_gives_no_keys(issuer: JwksServer) -> None:
    async with running(JwksLimits(wait=1), jwks_url=issuer.url, jwks_cooldown=1e-9) as authenticator:
        await authenticator.verify(credentials(ED))
        issuer.answering.clear()
        assert await refused_status(authenticator, credentials(STRANGER)) == 503
        issuer.answering.set()
        assert await refused_status(authenticator, credentials(STRANGER)) == 401


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n"


@pytest.mark.parametrize("start", [HEAD + b"X: ", HEAD + b"\r\n"], ids=["head", "body"])
async def test_jwks_issuer_that_trickles_times_out(start: bytes, issuer: JwksServer) -> None:
    issuer.trickle = start + b" " * 10_000
    async with running(JwksLimits(read=0.2, retry=0.01), jwks_url=issuer.url) as authenticator:
        assert await refused_status(authenticator, credentials(ED)) == 503
        issuer.trickle = b""
        await until_async(lambda: issuer.fetches > 1)
        assert (await authenticator.verify(credentials(ED))).id_text == ADA


def test_jwks_issuer_that_trickles_does_not_delay_the_stop(issuer: JwksServer) -> None:
    issuer.trickle = HEAD + b"\r\n" + b" " * 10_000
    with serving(database_url="postgresql://127.0.0.1:1/none", jwt_secret="", jwks_url=issuer.url):
        until(lambda: issuer.fetches)
        assert not issuer.left
    until(lambda: issuer.left)


@pytest.mark.parametrize("trusted", [True, False])
async def test_jwks_over_tls_needs_a_trusted_certificate(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "issuer.pem"
    issuer = JwksServer(key_set(ED), certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    try:
        async with running(jwks_url=issuer.url) as authenticator:
            if trusted:
                assert (await authenticator.verify(credentials(ED))).id_text == ADA
            else:
                assert await refused_status(authenticator, credentials(ED)) == 503
    finally:
        issuer.stop()


async def test_jwks_issuer_unreachable_after_the_first_fetch_keeps_its_keys(issuer: JwksServer) -> None:
    async with running(jwks_url=issuer.url) as authenticator:
        await authenticator.verify(credentials(ED))
        issuer.stop()
        assert await refused_status(authenticator, credentials(STRANGER)) == 503
        assert (await authenticator.verify(credentials(ED))).id_text == ADA
        assert await refused_status(authenticator, credentials(ED)[:-4]) == 401


@pytest.mark.parametrize(
    ("status", "document"),
    [
        pytest.param(500, key_set(STRANGER), id="error"),
        pytest.param(302, key_set(STRANGER), id="redirect"),
        pytest.param(200, b"<html>", id="no JSON"),
        pytest.param(200, b'{"keys": []}', id="no key"),
        pytest.param(200, b'{"keys": {}}', id="keys no list"),
        pytest.param(200, b"[" * 100_000, id="deep"),
        pytest.param(200, b'{"keys": ["\xff"]}', id="no UTF-8"),
        pytest.param(200, key_set(STRANGER) + b" " * 1_048_576, id="over 1 MiB"),
    ],
)
async def test_jwks_answer_that_is_no_key_set_changes_nothing(
    status: int, document: bytes, issuer: JwksServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(jwks_url=issuer.url) as authenticator:
        authorization = credentials(ED)
        user = await authenticator.verify(authorization)
        issuer.status, issuer.document = status, document
        assert await refused_status(authenticator, credentials(STRANGER)) == 503
        assert authenticator.cached(authorization) is user
        assert (await authenticator.verify(authorization)).id_text == ADA
        assert issuer.fetches == 2  # a redirect is not followed
    assert "could not be read" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct"}]}'])
async def test_jwks_file_that_is_bad_stops_the_start(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="JWKS_FILE") as caught:
        async with running(jwks_file=str(path)):
            pass
    assert str(path) not in str(caught.value)


async def test_jwks_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(ED))
    async with running(jwks_file=str(path), jwks_cooldown=1e-9) as authenticator:
        await authenticator.verify(credentials(ED))
        path.write_bytes(key_set(ROTATED))
        assert (await authenticator.verify(credentials(ROTATED))).id_text == ADA
        assert await refused_status(authenticator, credentials(ED)) == 401
        path.write_bytes(b"half a key se")
        assert await refused_status(authenticator, credentials(ED)) == 503
        assert (await authenticator.verify(credentials(ROTATED))).id_text == ADA


async def test_close_leaves_no_task(issuer: JwksServer) -> None:
    before = asyncio.all_tasks()
    async with running(jwks_url=issuer.url):
        assert asyncio.all_tasks() - before
    assert not asyncio.all_tasks() - before


async def test_start_that_fails_leaves_no_task(issuer: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Database) -> None:
        raise RuntimeError("raised by the test")

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        assert message["type"] == "lifespan.startup.failed"

    monkeypatch.setattr(Database, "open", fail)
    output = Output(STDOUT)
    given = {"DATABASE_URL": "postgresql://", "JWKS_URL": issuer.url, "CURSOR_SECRET": "x" * 32}
    app = create_app(read_settings(given), output)
    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError, match="the test"):
        await app({"type": "lifespan", "state": {}}, receive, send)
    assert asyncio.all_tasks() == before
    output.close()
