"""The service accepts the tokens of better-auth, a real issuer with a JWKS endpoint, for each of its algorithms.

`make issuer` runs this; it needs Node, and is not part of `make test`.
"""

import json
import subprocess
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest

from tests.serving import Api, serving, until

HERE = Path(__file__).parent

ALGORITHMS = ["EdDSA", "Ed25519", "ES256", "ES512", "PS256", "RS256"]

NAMESPACE = "7c0a5a0e-52f5-4d6b-9f0e-1f1f3c1d0a00"


@contextmanager
def better_auth(algorithm: str = "EdDSA", ids: str = "uuid", rotation: str = "") -> Iterator[str]:
    """Run a better-auth server without users. Yields its address."""
    command = ["node", str(HERE / "issuer.mjs"), algorithm, ids, rotation]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Browser:
    """The session of a user that has signed up."""

    def __init__(self, issuer: str, name: str) -> None:
        account = {"name": name, "email": f"{name}@example.com", "password": "correct horse battery"}
        answer = httpx.post(f"{issuer}/api/auth/sign-up/email", json=account, headers={"Origin": issuer})
        assert answer.status_code == 200, answer.text
        self._issuer = issuer
        self._session = {"Cookie": "; ".join(f"{name}={value}" for name, value in answer.cookies.items())}
        self.user_id: str = answer.json()["user"]["id"]

    def token(self) -> str:
        answer = httpx.get(f"{self._issuer}/api/auth/token", headers=self._session)
        token: str = answer.json()["token"]
        return token


def header(token: str) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
    return members


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def trusting(issuer: str, database: str, **more: str) -> Iterator[Api]:
    """The service with the settings that docs/tokens.md recommends."""
    settings = {"jwks_url": f"{issuer}/api/auth/jwks", "jwt_issuer": issuer, "jwt_audience": issuer, "jwt_secret": ""}
    with serving(database_url=database, **settings | more) as api:
        yield api


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_issuer_token_of_each_algorithm_is_accepted(algorithm: str, database: str) -> None:
    with better_auth(algorithm) as issuer, trusting(issuer, database) as api:
        ada, bob = Browser(issuer, "ada"), Browser(issuer, "bob")
        token = ada.token()
        assert header(token)["alg"] == algorithm
        api.anonymous.headers.update(bearer(token))
        tasks = f"/api/{ada.user_id}/tasks"

        made = api.anonymous.post(tasks, json={"title": "Buy milk"})
        assert made.status_code == 201, made.text
        task = tasks + "/" + made.json()["id"]
        assert api.anonymous.get(task).json() == made.json()
        assert api.anonymous.put(task, json={"title": "Buy oat milk"}).json()["title"] == "Buy oat milk"
        assert api.anonymous.patch(f"{task}/complete").json()["completed"] is True
        assert [listed["title"] for listed in api.anonymous.get("/api/me/tasks").json()] == ["Buy oat milk"]

        other = bearer(bob.token())
        assert api.anonymous.get(tasks, headers=other).status_code == 403
        assert api.anonymous.get(task.replace(ada.user_id, bob.user_id), headers=other).status_code == 404
        assert api.anonymous.get(tasks, headers=bearer(f"{token[:-8]}AAAAAAAA")).status_code == 401

        assert api.anonymous.delete(task).status_code == 204
        assert api.anonymous.get(tasks).json() == []


def test_issuer_rotation_while_serving_signs_no_user_out(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    with better_auth(rotation="1") as issuer, trusting(issuer, database, jwks_cooldown="0.1") as api:
        pages = [Browser(issuer, f"user{number}") for number in range(5)]
        shown: dict[str, str] = {}  # a token of each key
        answers: list[int] = []
        end = time.monotonic() + 30
        while len(shown) < 4 and time.monotonic() < end:
            for page in pages:
                token = page.token()
                shown.setdefault(header(token)["kid"], token)
                answers.append(api.anonymous.get("/api/me/tasks", headers=bearer(token)).status_code)
            time.sleep(0.3)
        answers += [api.anonymous.get("/api/me/tasks", headers=bearer(token)).status_code for token in shown.values()]
        with capsys.disabled():
            print(f"\n{len(shown)} keys, {len(answers)} calls, {answers.count(401)} signed out")
        assert len(shown) >= 4
        assert set(answers) == {200}


def test_issuer_ids_that_are_no_uuids_need_a_namespace(database: str) -> None:
    with better_auth(ids="plain") as issuer:
        page = Browser(issuer, "ada")
        with trusting(issuer, database) as api:
            refused = api.anonymous.get("/api/me/tasks", headers=bearer(page.token()))
            assert refused.json()["detail"] == "The token does not name a user."
        with trusting(issuer, database, jwt_user_namespace=NAMESPACE) as api:
            made = api.anonymous.post("/api/me/tasks", json={"title": "x"}, headers=bearer(page.token()))
            assert made.json()["user_id"] == str(uuid5(UUID(NAMESPACE), f"{issuer} {page.user_id}"))


def test_issuer_session_token_is_no_jwt(database: str) -> None:
    with better_auth() as issuer, trusting(issuer, database) as api:
        opaque = ".".join(Browser(issuer, "eve").token().split(".")[:2])
        until(lambda: api.anonymous.get("/readyz").status_code == 200)

        assert api.anonymous.get("/api/me/tasks", headers=bearer(opaque)).status_code == 401
