"""A task's life with the tokens of a real issuer: better-auth, whose keys the service reads from its JWKS.

`make issuer` runs this; it needs Node, and is no part of `make test`.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import serving

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The address of a better-auth that nobody has signed up to."""
    with subprocess.Popen(["node", HERE / "issuer.mjs"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


def sign_up(issuer: str, name: str) -> tuple[str, str]:
    """A new user's id and token, as a frontend gets them."""
    with httpx.Client(base_url=f"{issuer}/api/auth", headers={"Origin": issuer}) as browser:
        account = {"name": name, "email": f"{name}@example.com", "password": "correct horse battery"}
        answer = browser.post("/sign-up/email", json=account)
        assert answer.status_code == 200, answer.text
        return answer.json()["user"]["id"], browser.get("/token").json()["token"]


def test_a_task_lives_with_the_issuers_token(issuer: str, database: str) -> None:
    settings = {"jwks_url": f"{issuer}/api/auth/jwks", "jwt_issuer": issuer, "jwt_audience": issuer, "jwt_secret": ""}
    with serving(database_url=database, **settings) as api:
        user_id, token = sign_up(issuer, "ada")
        other_id, other_token = sign_up(issuer, "bob")
        api.anonymous.headers["Authorization"] = f"Bearer {token}"
        tasks = f"/api/{user_id}/tasks"

        made = api.anonymous.post(tasks, json={"title": "Buy milk"})
        assert made.status_code == 201, made.text
        task = tasks + "/" + made.json()["id"]
        assert api.anonymous.get(task).json() == made.json()
        assert api.anonymous.put(task, json={"title": "Buy oat milk"}).json()["title"] == "Buy oat milk"
        assert api.anonymous.patch(f"{task}/complete").json()["completed"] is True
        assert [listed["title"] for listed in api.anonymous.get(tasks).json()] == ["Buy oat milk"]

        bob = {"Authorization": f"Bearer {other_token}"}
        assert api.anonymous.get(tasks, headers=bob).status_code == 403
        assert api.anonymous.get(task.replace(user_id, other_id), headers=bob).status_code == 404
        assert api.anonymous.get(tasks, headers={"Authorization": f"Bearer {token[:-4]}AAAA"}).status_code == 401

        assert api.anonymous.delete(task).status_code == 204
        assert api.anonymous.get(tasks).json() == []


def test_a_session_token_is_no_jwt(issuer: str, database: str) -> None:
    with serving(database_url=database, jwks_url=f"{issuer}/api/auth/jwks", jwt_secret="") as api:
        user_id, token = sign_up(issuer, "eve")
        opaque = ".".join(token.split(".")[:2])

        refused = api.anonymous.get(f"/api/{user_id}/tasks", headers={"Authorization": f"Bearer {opaque}"})

        assert refused.status_code == 401
