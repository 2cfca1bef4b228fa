"""The settings of issuers: bad settings and their messages, several issuers, user ids, required claims, discovery."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from service.auth.authenticator import Authenticator
from service.settings import Settings, SettingsError
from tests.jwks_server import JwksServer
from tests.serving import serving, until, until_async
from tests.tokens import (
    ADA,
    ED,
    ROTATED,
    STRANGER,
    Secret,
    Signer,
    SigningKey,
    claims,
    credentials,
    header_text,
    key_set,
    refused_status,
    running,
)

NAMESPACE = "7c0a5a0e-52f5-4d6b-9f0e-1f1f3c1d0aff"
ONE, TWO = "https://one.example", "https://two.example"
SECRET = "hunter2-" * 4


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    issuer = JwksServer(key_set(ED))
    yield issuer
    issuer.stop()


def entries(*issuers: dict[str, str]) -> str:
    return json.dumps(issuers)


def token(signer: Signer, **members: Any) -> bytes:
    return credentials(signer, payload=claims(**{name: json.dumps(value) for name, value in members.items()}))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({}, "set JWT_SECRET, JWKS_URL, JWKS_FILE, JWT_DISCOVERY_URL or JWT_ISSUERS"),
    "a short secret": ({"jwt_secret": "hunter2"}, "JWT_SECRET is shorter than 32 bytes"),
    "a secret of 31 bytes": ({"jwt_secret": "é" * 15 + "x"}, "JWT_SECRET is shorter than 32 bytes"),
    "a short previous secret": (
        {"jwt_secret": SECRET, "jwt_secret_previous": "hunter2"},
        "JWT_SECRET_PREVIOUS is shorter",
    ),
    "a previous secret alone": (
        {"jwks_url": "https://id.example/hunter2", "jwt_secret_previous": SECRET},
        "JWT_SECRET_PREVIOUS is set without JWT_SECRET",
    ),
    "two key sets": (
        {"jwks_url": "https://id.example/hunter2", "jwks_file": "hunter2"},
        "set only one of JWKS_URL, JWKS_FILE",
    ),
    "a discovery address that is none": (
        {"jwt_discovery_url": "https://id.example/hunter2"},
        "JWT_DISCOVERY_URL does not end",
    ),
    "an empty issuer": ({"jwt_secret": SECRET, "jwt_issuer": "hunter2,,"}, "JWT_ISSUER has an empty item"),
    "an empty audience": ({"jwt_secret": SECRET, "jwt_audience": ",hunter2"}, "JWT_AUDIENCE has an empty item"),
    "a namespace that is no UUID": (
        {"jwt_secret": SECRET, "jwt_user_namespace": "hunter2"},
        "JWT_USER_NAMESPACE is not a UUID",
    ),
    "a namespace without an issuer": (
        {"jwt_secret": SECRET, "jwt_user_namespace": NAMESPACE},
        "JWT_USER_NAMESPACE needs JWT_ISSUER",
    ),
    "a namespace and a space": (
        {"jwt_secret": SECRET, "jwt_user_namespace": NAMESPACE, "jwt_issuer": "hunter2 x"},
        "JWT_ISSUER has a space in it",
    ),
    "a claim without a value": (
        {"jwt_secret": SECRET, "jwt_required_claims": "hunter2"},
        "JWT_REQUIRED_CLAIMS is not a list like",
    ),
    "a claim without a name": (
        {"jwt_secret": SECRET, "jwt_required_claims": "=hunter2"},
        "JWT_REQUIRED_CLAIMS is not a list like",
    ),
    "JWT_ISSUERS is no JSON": ({"jwt_issuers": "hunter2"}, "JWT_ISSUERS is not a JSON array"),
    "JWT_ISSUERS is an object": ({"jwt_issuers": '{"JWT_SECRET": "hunter2"}'}, "JWT_ISSUERS is not a JSON array"),
    "an entry with an unknown member": (
        {"jwt_issuers": entries({"JWT_SECRET": SECRET, "hunter2": "x"})},
        "JWT_ISSUERS, entry 1: a member is none of JWT_SECRET, ",
    ),
    "an entry without a key": (
        {"jwt_issuers": entries({"JWT_SECRET": SECRET}, {"JWT_ISSUER": "hunter2"})},
        "JWT_ISSUERS, entry 2: set JWT_SECRET, ",
    ),
    "an entry with a bad member": (
        {"jwt_issuers": entries({"JWKS_URL": "http://id.example/hunter2"})},
        "JWT_ISSUERS, entry 1: JWKS_URL is not an https URL",
    ),
    "a variable beside entries": (
        {"jwt_issuer": "hunter2", "jwt_issuers": entries({"JWT_SECRET": SECRET})},
        "JWT_ISSUER is set without a key",
    ),
    "two issuers of one name": (
        {
            "jwt_secret": SECRET,
            "jwt_issuer": ONE,
            "jwt_issuers": entries({"JWKS_URL": "https://id.example/hunter2", "JWT_ISSUER": f"{TWO},{ONE}"}),
        },
        "JWT_ISSUERS, entry 1: JWT_ISSUER: an issuer before it has the same name",
    ),
    "two issuers without a name": (
        {"jwt_secret": SECRET, "jwt_issuers": entries({"JWKS_URL": "https://id.example/hunter2"})},
        "JWT_ISSUERS, entry 1: JWT_ISSUER: one issuer at most may have no JWT_ISSUER",
    ),
    "a discovered name of another": (
        {
            "jwt_secret": SECRET,
            "jwt_issuer": f"{ONE}/",
            "jwt_issuers": entries({"JWT_DISCOVERY_URL": f"{ONE}/.well-known/openid-configuration"}),
        },
        "JWT_ISSUERS, entry 1: JWT_ISSUER: an issuer before it has the same name",
    ),
    "two issuers whose users could meet": (
        {
            "jwt_secret": SECRET,
            "jwt_issuers": entries({"JWKS_URL": "https://id.example/hunter2", "JWT_ISSUER": TWO}),
        },
        "JWT_ISSUERS, entry 1: JWT_USER_NAMESPACE is missing",
    ),
}


@pytest.mark.parametrize(("settings", "message"), BAD.values(), ids=BAD)
def test_issuer_setting_at_fault_is_named_and_not_shown(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Authenticator(Settings(database_url="postgresql://", **settings))
    assert str(caught.value).startswith(message)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


URLS = {
    "https://auth.example/jwks": True,
    "https://auth.example:8443/": True,
    "http://localhost:3000/": True,
    "http://127.0.0.1/": True,
    "http://[::1]/": True,
    "http://auth.example/jwks": "with JWKS_ALLOW_HTTP",
    "http://localhost.auth.example/jwks": "with JWKS_ALLOW_HTTP",
    "http://localhost@auth.example/jwks": "with JWKS_ALLOW_HTTP",
    "http://10.0.0.1/jwks": "with JWKS_ALLOW_HTTP",
    "file:///etc/hunter2": False,
    "auth.example/hunter2": False,
    "https://": False,
    "https:///hunter2": False,
    "https://[hunter2": False,
    "https://[hunter2]/": False,
    "https://auth.example:hunter2/": False,
    "https://auth.example:65536/": False,
}


@pytest.mark.parametrize("allow_http", [False, True])
@pytest.mark.parametrize("name", ["jwks_url", "jwt_discovery_url"])
@pytest.mark.parametrize("url", URLS)
def test_issuer_url_must_be_safe_to_fetch(url: str, name: str, allow_http: bool) -> None:
    given: dict[str, Any] = {name: url, "jwks_allow_http": allow_http}
    if name == "jwt_discovery_url":
        given[name] = url.rstrip("/") + "/.well-known/openid-configuration" if URLS[url] else url
    settings = Settings(database_url="postgresql://", **given)
    if URLS[url] is True or (URLS[url] and allow_http):
        Authenticator(settings)
    else:
        with pytest.raises(SettingsError, match=f"^{name.upper()} is not an https URL"):
            Authenticator(settings)


# ---------------------------------------------------------------------------------------------- several issuers


def two(issuer: JwksServer, second: Path, **more: str) -> dict[str, Any]:
    """Settings of two issuers. ED is the key of the first, ROTATED of the second."""
    second.write_bytes(key_set(ROTATED))
    first = {"jwks_url": issuer.url, "jwt_issuer": ONE, "jwt_audience": "web", "jwt_user_namespace": NAMESPACE}
    entry = {"JWKS_FILE": str(second), "JWT_ISSUER": TWO, "JWT_AUDIENCE": "app", "JWT_USER_NAMESPACE": NAMESPACE}
    return first | {"jwt_issuers": entries(entry | more), "jwks_cooldown": 1e-9}


async def test_issuers_each_have_their_own_keys_audience_and_claims(issuer: JwksServer, tmp_path: Path) -> None:
    settings = two(issuer, tmp_path / "keys", JWT_REQUIRED_CLAIMS="token_use=access", JWT_USER_CLAIM="oid")
    async with running(**settings) as authenticator:
        await authenticator.verify(token(ED, iss=ONE, aud="web"))
        await authenticator.verify(token(ROTATED, iss=TWO, aud="app", token_use="access", oid="ada"))
        for refused in (
            token(ROTATED, iss=ONE, aud="web"),  # key of the other issuer
            token(ED, iss=TWO, aud="app", token_use="access", oid="ada"),
            token(ED, iss=ONE, aud="app"),  # audience of the other issuer
            token(ROTATED, iss=TWO, aud="web", token_use="access", oid="ada"),
            token(ROTATED, iss=TWO, aud="app", oid="ada"),  # without the required claim
            token(ROTATED, iss=TWO, aud="app", token_use="access"),
            token(ED, iss="https://three.example", aud="web"),
            token(ED, aud="web"),
            token(ED, iss=[ONE], aud="web"),
        ):
            assert await refused_status(authenticator, refused) == 401


async def test_issuers_same_key_id_is_two_keys(issuer: JwksServer, tmp_path: Path) -> None:
    other = SigningKey("EdDSA", "key-1")
    settings = two(issuer, tmp_path / "keys")
    (tmp_path / "keys").write_bytes(key_set(other))
    async with running(**settings) as authenticator:
        await authenticator.verify(token(ED, iss=ONE, aud="web"))
        await authenticator.verify(token(other, iss=TWO, aud="app"))
        assert await refused_status(authenticator, token(other, iss=ONE, aud="web")) == 401
        assert await refused_status(authenticator, token(ED, iss=TWO, aud="app")) == 401


async def test_issuers_same_sub_is_two_users(issuer: JwksServer, tmp_path: Path) -> None:
    async with running(**two(issuer, tmp_path / "keys")) as authenticator:
        first = await authenticator.verify(token(ED, iss=ONE, aud="web", sub="ada"))
        second = await authenticator.verify(token(ROTATED, iss=TWO, aud="app", sub="ada"))
        assert first.id_text == str(uuid5(UUID(NAMESPACE), f"{ONE} ada"))
        assert second.id_text == str(uuid5(UUID(NAMESPACE), f"{TWO} ada"))
        assert first.id_text != second.id_text


async def test_issuers_same_sub_is_one_user_if_the_settings_say_so(issuer: JwksServer) -> None:
    entry = {"JWT_SECRET": SECRET, "JWT_ISSUER": TWO}
    async with running(
        jwks_url=issuer.url, jwt_issuer=ONE, jwt_issuers=entries(entry), jwt_shared_users=True
    ) as authenticator:
        assert (await authenticator.verify(token(ED, iss=ONE))).id_text == ADA
        assert (await authenticator.verify(token(Secret(SECRET.encode()), iss=TWO))).id_text == ADA


async def test_issuers_one_without_a_name_gets_the_tokens_of_no_other(issuer: JwksServer) -> None:
    own = Secret(SECRET.encode())
    entry = {"JWKS_URL": issuer.url, "JWT_ISSUER": ONE, "JWT_USER_NAMESPACE": NAMESPACE}
    async with running(jwt_secret=SECRET, jwt_issuers=entries(entry)) as authenticator:
        assert (await authenticator.verify(token(own))).id_text == ADA
        assert (await authenticator.verify(token(own, iss="anything"))).id_text == ADA
        assert (await authenticator.verify(token(ED, iss=ONE))).id_text != ADA
        assert await refused_status(authenticator, token(own, iss=ONE)) == 401
        assert await refused_status(authenticator, token(ED)) == 401


async def test_issuer_with_a_secret_and_a_key_set_is_decided_by_alg(issuer: JwksServer) -> None:
    async with running(jwt_secret=SECRET, jwks_url=issuer.url) as authenticator:
        assert (await authenticator.verify(token(Secret(SECRET.encode())))).id_text == ADA
        assert (await authenticator.verify(token(ED))).id_text == ADA
        public = Secret(json.dumps(ED.jwk).encode())
        assert await refused_status(authenticator, token(public)) == 401
        named = credentials(public, header_text(public, kid='"key-1"'))
        assert await refused_status(authenticator, named) == 401


# ---------------------------------------------------------------------------------------------- the user's id


@pytest.mark.parametrize(
    ("claim", "accepted"),
    [
        *((claim, True) for claim in ("auth0|1", ADA, "a b", "x" * 255)),
        *((claim, False) for claim in ("", "x" * 256, 1, None, ["x"], True, "\ud800")),
    ],
)
async def test_user_in_a_namespace_is_a_version_5_uuid(claim: Any, accepted: bool) -> None:
    async with running(
        jwt_secret=SECRET, jwt_issuer=f"{ONE},{TWO}", jwt_user_namespace=NAMESPACE, jwt_user_claim="uid"
    ) as authenticator:
        for name in (ONE, TWO):
            shown = token(Secret(SECRET.encode()), iss=name, uid=claim)
            if accepted:
                user = await authenticator.verify(shown)
                # The first name is used, even if the token has the second.
                assert user.id_text == str(uuid5(UUID(NAMESPACE), f"{ONE} {claim}"))
            else:
                assert await refused_status(authenticator, shown) == 401


async def test_user_claim_takes_the_place_of_sub() -> None:
    async with running(jwt_secret=SECRET, jwt_user_claim="https://app.example/id") as authenticator:
        own = Secret(SECRET.encode())
        payload = claims(sub='"auth0|1"', **{"https://app.example/id": f'"{ADA}"'})
        assert (await authenticator.verify(credentials(own, payload=payload))).id_text == ADA
        assert await refused_status(authenticator, token(own)) == 401


REQUIRED: list[tuple[str, dict[str, Any], bool]] = [
    ("a=1", {"a": "1"}, True),
    ("a=1", {"a": 1}, True),
    ("a=true", {"a": True}, True),
    ("a=1", {"a": True}, False),
    ("a=1", {}, False),
    ("a=1", {"a": "12"}, False),
    ("a=1", {"a": None}, False),
    ("a=1", {"a": {"1": 1}}, False),
    ("a=1", {"a": ["0", "1"]}, True),
    ("a=1,a=2", {"a": "2"}, True),
    ("a=1,a=2", {"a": "3"}, False),
    ("a=1,b=2", {"a": "1", "b": "2"}, True),
    ("a=1,b=2", {"a": "1"}, False),
    ("a!=1", {}, True),
    ("a!=1", {"a": "2"}, True),
    ("a!=1", {"a": "1"}, False),
    ("a!=1", {"a": ["1", "2"]}, False),
    ("scope=write", {"scope": "read write"}, True),
    ("scope=write", {"scope": "readwrite"}, False),
    ("a=write", {"a": "read write"}, False),
    ("https://app.example/plan = pro ", {"https://app.example/plan": "pro"}, True),
    ("azp=https://app.example/?a=b", {"azp": "https://app.example/?a=b"}, True),
]


@pytest.mark.parametrize(("setting", "members", "accepted"), REQUIRED)
async def test_required_claims_are_compared(setting: str, members: dict[str, Any], accepted: bool) -> None:
    async with running(jwt_secret=SECRET, jwt_required_claims=setting) as authenticator:
        shown = token(Secret(SECRET.encode()), **members)
        if accepted:
            assert (await authenticator.verify(shown)).id_text == ADA
        else:
            assert await refused_status(authenticator, shown) == 401
            assert authenticator.refusals.counts == {"claim": 1}


# ---------------------------------------------------------------------------------------------- discovery

PATH = "/realms/app/.well-known/openid-configuration"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_discovery_requires_the_issuer_of_the_document(slash: str, issuer: JwksServer) -> None:
    name = f"http://127.0.0.1:{issuer.port}/realms/app{slash}"
    issuer.documents[PATH] = json.dumps({"issuer": name, "jwks_uri": issuer.url}).encode()
    async with running(jwt_discovery_url=f"http://127.0.0.1:{issuer.port}{PATH}") as authenticator:
        assert (await authenticator.verify(token(ED, iss=name))).id_text == ADA
        other = name.rstrip("/") if slash else f"{name}/"
        assert await refused_status(authenticator, token(ED, iss=other)) == 401
        assert await refused_status(authenticator, token(ED)) == 401
        assert issuer.targets == [PATH, "/jwks"]


async def test_discovery_names_the_users_of_a_token_that_arrived_before_it(issuer: JwksServer) -> None:
    name = f"http://127.0.0.1:{issuer.port}/realms/app/"
    issuer.documents[PATH] = json.dumps({"issuer": name, "jwks_uri": issuer.url}).encode()
    issuer.answering.clear()
    async with running(
        jwt_discovery_url=f"http://127.0.0.1:{issuer.port}{PATH}", jwt_user_namespace=NAMESPACE
    ) as authenticator:
        first = asyncio.create_task(authenticator.verify(token(ED, iss=name, sub="ada")))
        await until_async(lambda: issuer.fetches == 1)
        issuer.answering.set()
        assert (await first).id_text == str(uuid5(UUID(NAMESPACE), f"{name} ada"))


async def test_discovery_inside_a_cluster_has_the_public_name(issuer: JwksServer) -> None:
    issuer.documents[PATH] = json.dumps({"issuer": ONE, "jwks_uri": issuer.url}).encode()
    url = f"http://127.0.0.1:{issuer.port}{PATH}"
    async with running(jwt_discovery_url=url, jwt_issuer=ONE) as authenticator:
        assert (await authenticator.verify(token(ED, iss=ONE))).id_text == ADA
        name_in_cluster = url.removesuffix("/.well-known/openid-configuration")
        assert await refused_status(authenticator, token(ED, iss=name_in_cluster)) == 401


DOCUMENTS: dict[str, Any] = {
    "the name of another": {"issuer": "https://other.example", "jwks_uri": "URL"},
    "keys over http elsewhere": {"issuer": "NAME", "jwks_uri": "http://other.example/jwks"},
    "keys in a file": {"issuer": "NAME", "jwks_uri": "file:///etc/passwd"},
    "no keys": {"issuer": "NAME"},
    "no name": {"jwks_uri": "URL"},
    "a list": [],
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
async def test_discovery_of_a_document_that_is_wrong_gives_no_keys(document: Any, issuer: JwksServer) -> None:
    name = f"http://127.0.0.1:{issuer.port}/realms/app"
    issuer.documents[PATH] = json.dumps(document).replace("NAME", name).replace("URL", issuer.url).encode()
    async with running(jwt_discovery_url=f"{name}/.well-known/openid-configuration") as authenticator:
        assert await refused_status(authenticator, token(STRANGER, iss=name)) == 503
        assert not authenticator.has_keys


def test_discovery_that_moves_the_keys_signs_no_user_out(issuer: JwksServer, database: str) -> None:
    name = f"http://127.0.0.1:{issuer.port}/realms/app"
    issuer.documents[PATH] = json.dumps({"issuer": name, "jwks_uri": issuer.url}).encode()
    with serving(
        database_url=database,
        jwt_secret="",
        jwt_discovery_url=f"{name}/.well-known/openid-configuration",
        jwks_cooldown="0.05",
    ) as api:
        until(lambda: api.anonymous.get("/readyz").status_code == 200)
        old = api.anonymous.get("/api/me/tasks", headers={"Authorization": token(ED, iss=name).decode()})
        issuer.documents[PATH] = json.dumps({"issuer": name, "jwks_uri": f"{issuer.url}/moved"}).encode()
        issuer.documents["/jwks/moved"] = key_set(ED, ROTATED)
        new = api.anonymous.get("/api/me/tasks", headers={"Authorization": token(ROTATED, iss=name).decode()})
        assert (old.status_code, new.status_code) == (200, 200)
