"""Each recipe of docs/tokens.md over HTTP, with the provider's key set and tokens.

`pytest tests/auth/test_providers.py -n 0 -s -q` prints the table of provider, token and status.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import msgspec
import pytest

from service.settings import ROOT
from tests.auth.providers import PROVIDERS, Provider
from tests.auth.providers import UUID as USER
from tests.jwks_server import JwksServer
from tests.serving import Api, serving, until

PAGE = (ROOT / "docs" / "tokens.md").read_text()

every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)


def section(name: str) -> str:
    """The section of the page with this heading."""
    return PAGE.partition(f"### {name}\n")[2].partition("\n## ")[0].partition("\n### ")[0]


def recipe(name: str) -> dict[str, str]:
    """The settings of a recipe on the page."""
    block = re.search(r"```sh\n(.*?)```", section(name), re.DOTALL)
    assert block, name
    return dict(line.split("=", 1) for line in block[1].splitlines())


@contextmanager
def issuer_of(provider: Provider, settings: dict[str, str]) -> Iterator[str | None]:
    """Serve the provider's documents, and point the URLs in `settings` to them. Yields the `iss` of its tokens."""
    server = JwksServer(b"")
    try:
        local = f"http://127.0.0.1:{server.port}/"
        for name in ("JWKS_URL", "JWT_DISCOVERY_URL"):
            if name in settings:
                settings[name] = settings[name].replace("https://", local)
        issuer = settings.get("JWT_ISSUER")
        keys = msgspec.json.encode({"keys": provider.keys})
        if "JWT_DISCOVERY_URL" in settings:
            issuer = settings["JWT_DISCOVERY_URL"].removesuffix("/.well-known/openid-configuration")
            jwks = provider.jwks.replace("https://", local) if "://" in provider.jwks else issuer + provider.jwks
            configuration = {"issuer": issuer, "jwks_uri": jwks, "response_types_supported": ["code"]}
            server.documents[urlsplit(settings["JWT_DISCOVERY_URL"]).path] = msgspec.json.encode(configuration)
            server.documents[urlsplit(jwks).path] = keys
        elif "JWKS_URL" in settings:
            server.documents[urlsplit(settings["JWKS_URL"]).path] = keys
        yield issuer
    finally:
        server.stop()


@contextmanager
def serving_recipe(provider: Provider, database: str) -> Iterator[tuple[Api, str | None, dict[str, str]]]:
    settings = recipe(provider.name)
    with issuer_of(provider, settings) as issuer:
        values = {"jwt_secret": "", "jwks_cooldown": "0.05"} | {name.lower(): text for name, text in settings.items()}
        with serving(database_url=database, **values) as api:
            until(lambda: api.anonymous.get("/readyz").status_code == 200)
            yield api, issuer, settings


@every_provider
def test_provider_recipe_accepts_its_users_and_refuses_others(
    provider: Provider, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_recipe(provider, database) as (api, issuer, _):
        for token in provider.tokens:
            authorization = f"Bearer {provider.token(token, issuer).decode()}"
            answer = api.anonymous.get("/api/me/tasks", headers={"Authorization": authorization})
            with capsys.disabled():
                reason = answer.json()["detail"] if answer.status_code != 200 else ""
                print(f"| {provider.name} | {token.what} | {answer.status_code} | {reason} |")
            assert answer.status_code == token.status, (token.what, answer.text)


@every_provider
def test_provider_user_has_one_id_and_me_names_it(provider: Provider, database: str) -> None:
    with serving_recipe(provider, database) as (api, issuer, settings):
        user = USER
        if not provider.uuid:
            user = str(uuid5(UUID(settings["JWT_USER_NAMESPACE"]), f"{issuer} {provider.claims['sub']}"))
        authorization = f"Bearer {provider.token(provider.tokens[0], issuer).decode()}"
        api.anonymous.headers["Authorization"] = authorization
        made = api.anonymous.post("/api/me/tasks", json={"title": "Buy milk"})
        assert made.status_code == 201, made.text
        assert made.json()["user_id"] == user
        assert made.headers["location"] == f"/api/{user}/tasks/{made.json()['id']}"
        assert (
            api.anonymous.get(f"/api/{user}/tasks").json() == api.anonymous.get("/api/me/tasks").json() == [made.json()]
        )


@pytest.mark.parametrize("provider", PROVIDERS[:-1], ids=lambda provider: provider.name)
def test_provider_token_of_another_issuer_is_refused(provider: Provider, database: str) -> None:
    with serving_recipe(provider, database) as (api, issuer, _):
        assert issuer
        for other in (f"{issuer}x", f"{issuer}/", issuer.rstrip("/") + "/other", None):
            claims = {"iss": other}
            token = provider.token(msgspec.structs.replace(provider.tokens[0], claims=claims), issuer).decode()
            answer = api.anonymous.get("/api/me/tasks", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401


@every_provider
def test_provider_recipe_is_ten_lines(provider: Provider) -> None:
    assert 0 < len(section(provider.name).strip().splitlines()) <= 12  # with the two fences
