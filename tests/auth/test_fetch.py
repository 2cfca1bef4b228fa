"""The download of the issuer's documents: proxies, addresses that do not respond, and when httpx is imported."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from service.auth.jwks import JwksLimits
from service.settings import ROOT
from tests.jwks_server import JwksServer
from tests.tokens import ADA, ED, credentials, key_set, running


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    issuer = JwksServer(key_set(ED))
    yield issuer
    issuer.stop()


async def test_fetch_uses_the_proxy_of_the_environment(issuer: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", issuer.url)  # the server responds to any target, like a proxy
    async with running(jwks_url="http://127.0.0.1:1/keys") as authenticator:
        assert (await authenticator.verify(credentials(ED))).id_text == ADA
    assert issuer.targets == ["http://127.0.0.1:1/keys"]


async def test_fetch_of_plain_http_loads_no_certificates(issuer: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl.create_default_context", None)
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(ED))).id_text == ADA


async def test_fetch_uses_no_proxy_for_a_host_of_no_proxy(issuer: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with running(jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(credentials(ED))).id_text == ADA
    assert issuer.targets == ["/jwks"]


async def test_fetch_tries_the_next_address_beside_one_that_does_not_answer(
    issuer: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection to a listener with a full backlog is neither accepted nor refused, as with a broken IPv6 route."""
    resolve = socket.getaddrinfo

    def both(host: Any, *arguments: Any, **more: Any) -> Any:
        hosts = ["::1", "127.0.0.1"] if host in ("localhost", b"localhost") else [host]
        return [found for each in hosts for found in resolve(each, *arguments, **more)]

    address = ("::1", issuer.port)
    with ExitStack() as open_sockets:
        open_sockets.enter_context(socket.create_server(address, family=socket.AF_INET6, backlog=0))
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket(socket.AF_INET6))
            filler.setblocking(False)
            filler.connect_ex(address)
        monkeypatch.setattr(socket, "getaddrinfo", both)
        async with running(
            JwksLimits(read=3, wait=4), jwks_url=f"http://localhost:{issuer.port}/jwks"
        ) as authenticator:
            assert (await authenticator.verify(credentials(ED))).id_text == ADA


@pytest.mark.parametrize(("key", "loaded"), [("jwt_secret", False), ("jwks_url", True)])
def test_fetch_is_imported_only_with_a_key_set_url(key: str, loaded: bool) -> None:
    value = {"jwt_secret": "x" * 32, "jwks_url": "https://id.example/jwks"}[key]
    program = f"""
import sys
from service.app import create_app
from service.observability.log import Output, STDOUT
from service.settings import Settings
create_app(Settings(database_url="postgresql://", cursor_secret="x" * 32, {key}="{value}"), Output(STDOUT))
print("httpx" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ended.stdout.strip() == str(loaded), ended.stderr
