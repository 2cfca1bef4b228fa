"""Changes of keys, secrets, names and issuers, over HTTP: no user is signed out or loses tasks.

`pytest tests/auth/test_overlaps.py -n 0 -s -q` prints the table of changes and of the users who were signed out.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from tests.jwks_server import JwksServer
from tests.serving import Api, serving, until
from tests.tokens import Secret, Signer, SigningKey, claims, credentials, header_text, key_set

USERS = tuple(str(uuid4()) for _ in range(10))
NAMES = tuple(f"auth0|{number}" for number in range(10))
NAMESPACE = "7c0a5a0e-52f5-4d6b-9f0e-1f1f3c1d0aff"

OLD_SECRET, NEW_SECRET = (
    Secret(b"the old secret, of 32 bytes at least"),
    Secret(b"the new secret, of 32 bytes at least"),
)
OLD, NEW, OTHER = SigningKey("ES256", "old"), SigningKey("ES256", "new"), SigningKey("RS256", "other")
NAMELESS_OLD, NAMELESS_NEW = SigningKey("ES256"), SigningKey("ES256")
SAME_OLD, SAME_NEW = SigningKey("ES256", "same"), SigningKey("ES256", "same")


class State(msgspec.Struct, frozen=True):
    """One step of a change: the settings, the tokens in use, and the key set that the issuer publishes."""

    settings: dict[str, str]
    tokens: list[Callable[[str], bytes]]
    """Functions that make the Authorization header of a user."""
    keys: bytes = b""


class Change(msgspec.Struct, frozen=True):
    """A change in several steps. With `restart`, the settings change too, and the service is restarted at each step."""

    what: str
    states: list[State]
    users: tuple[str, ...] = USERS
    restart: bool = True


def token(signer: Signer, **members: Any) -> Callable[[str], bytes]:
    """Return a function that makes the Authorization header of a user. `members` are claims, except `kid`."""
    header = {"kid": members.pop("kid")} if "kid" in members else {}
    texts = {name: json.dumps(value) for name, value in members.items()}
    return lambda user: credentials(signer, header_text(signer, **header), claims(sub=json.dumps(user), **texts))


def secret(of: Secret) -> str:
    return of.secret.decode()


URL = {"jwks_url": "URL"}

OLD_ISS, NEW_ISS = "https://old.example/", "https://new.example/"


def entries(*issuers: dict[str, str]) -> dict[str, str]:
    return {"jwt_issuers": json.dumps([{name.upper(): text for name, text in issuer.items()} for issuer in issuers])}


CHANGES = [
    Change(
        "JWT_SECRET",
        [
            State({"jwt_secret": secret(OLD_SECRET)}, [token(OLD_SECRET)]),
            State(
                {"jwt_secret": secret(OLD_SECRET), "jwt_secret_previous": secret(NEW_SECRET)},
                [token(OLD_SECRET), token(NEW_SECRET)],
            ),
            State(
                {"jwt_secret": secret(NEW_SECRET), "jwt_secret_previous": secret(OLD_SECRET)},
                [token(OLD_SECRET), token(NEW_SECRET)],
            ),
            State({"jwt_secret": secret(NEW_SECRET)}, [token(NEW_SECRET)]),
        ],
    ),
    Change(
        "HS256 to ES256",
        [
            State({"jwt_secret": secret(OLD_SECRET)}, [token(OLD_SECRET)]),
            State({"jwt_secret": secret(OLD_SECRET)} | URL, [token(OLD_SECRET), token(NEW)], key_set(NEW)),
            State(URL, [token(NEW)], key_set(NEW)),
        ],
    ),
    Change(
        "the issuer's domain",
        [
            State(URL | {"jwt_issuer": OLD_ISS}, [token(OLD, iss=OLD_ISS)], key_set(OLD)),
            State(
                URL | {"jwt_issuer": f"{OLD_ISS}, {NEW_ISS}"},
                [token(OLD, iss=OLD_ISS), token(OLD, iss=NEW_ISS)],
                key_set(OLD),
            ),
            State(URL | {"jwt_issuer": NEW_ISS}, [token(OLD, iss=NEW_ISS)], key_set(OLD)),
        ],
    ),
    Change(
        "the issuer's domain, with ids in a namespace",
        [
            State(
                URL | {"jwt_issuer": OLD_ISS, "jwt_user_namespace": NAMESPACE}, [token(OLD, iss=OLD_ISS)], key_set(OLD)
            ),
            State(
                URL | {"jwt_issuer": f"{OLD_ISS},{NEW_ISS}", "jwt_user_namespace": NAMESPACE},
                [token(OLD, iss=OLD_ISS), token(OLD, iss=NEW_ISS)],
                key_set(OLD),
            ),
        ],
        users=NAMES,
    ),
    Change(
        "the audience",
        [
            State(URL | {"jwt_audience": "web"}, [token(OLD, aud="web")], key_set(OLD)),
            State(
                URL | {"jwt_audience": "web,tasks"},
                [token(OLD, aud="web"), token(OLD, aud="tasks"), token(OLD, aud=["x", "tasks"])],
                key_set(OLD),
            ),
            State(URL | {"jwt_audience": "tasks"}, [token(OLD, aud="tasks")], key_set(OLD)),
        ],
    ),
    Change(
        "the provider (JWT_ISSUERS)",
        [
            State(URL | {"jwt_issuer": OLD_ISS}, [token(OLD, iss=OLD_ISS)], key_set(OLD)),
            State(
                URL
                | {"jwt_issuer": OLD_ISS, "jwt_shared_users": "true"}
                | entries({"jwt_secret": secret(NEW_SECRET), "jwt_issuer": NEW_ISS}),
                [token(OLD, iss=OLD_ISS), token(NEW_SECRET, iss=NEW_ISS)],
                key_set(OLD),
            ),
            State(entries({"jwt_secret": secret(NEW_SECRET), "jwt_issuer": NEW_ISS}), [token(NEW_SECRET, iss=NEW_ISS)]),
        ],
    ),
    Change(
        "a key, by its id",
        [
            State(URL, [token(OLD)], key_set(OLD)),
            State(URL, [token(OLD), token(NEW)], key_set(OLD, NEW)),
            State(URL, [token(NEW)], key_set(NEW)),
        ],
        restart=False,
    ),
    Change(
        "a key without an id",
        [
            State(URL, [token(NAMELESS_OLD)], key_set(NAMELESS_OLD)),
            State(URL, [token(NAMELESS_OLD), token(NAMELESS_NEW)], key_set(NAMELESS_NEW, NAMELESS_OLD)),
            State(URL, [token(NAMELESS_NEW)], key_set(NAMELESS_NEW)),
        ],
        restart=False,
    ),
    Change(
        "a key whose tokens have no kid",
        [
            State(URL, [token(OLD, kid=None)], key_set(OLD)),
            State(URL, [token(OLD, kid=None), token(NEW, kid=None)], key_set(OLD, NEW)),
            State(URL, [token(NEW, kid=None)], key_set(NEW)),
        ],
        restart=False,
    ),
    Change(
        "a key that keeps its id beside the old one",
        [
            State(URL, [token(SAME_OLD)], key_set(SAME_OLD, SAME_NEW)),
            State(URL, [token(SAME_OLD), token(SAME_NEW)], key_set(SAME_OLD, SAME_NEW)),
        ],
        restart=False,
    ),
    Change(
        "the algorithm: ES256 to RS256",
        [
            State(URL, [token(OLD)], key_set(OLD)),
            State(URL, [token(OLD), token(OTHER)], key_set(OLD, OTHER)),
            State(URL, [token(OTHER)], key_set(OTHER)),
        ],
        restart=False,
    ),
]


@contextmanager
def serving_state(state: State, issuer: JwksServer, database: str) -> Iterator[Api]:
    settings = {"jwt_secret": ""} | {name: text.replace("URL", issuer.url) for name, text in state.settings.items()}
    with serving(database_url=database, jwks_cooldown="0.05", **settings) as api:
        until(lambda: api.anonymous.get("/readyz").status_code == 200)
        yield api


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_overlap_of_keys_signs_no_user_out(change: Change, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    issuer = JwksServer(b"")
    seen = Seen(change.users)
    try:
        if change.restart:
            for state in change.states:
                issuer.document = state.keys
                with serving_state(state, issuer, database) as api:
                    seen.call(api.anonymous, state)
        else:
            issuer.document = change.states[0].keys
            with serving_state(change.states[0], issuer, database) as api:
                for state in change.states:
                    issuer.document = state.keys
                    seen.call(api.anonymous, state)
    finally:
        issuer.stop()
    with capsys.disabled():
        print(f"| {change.what} | {len(change.states)} | {seen.calls} | {seen.signed_out} | {seen.without_tasks} |")
    assert (seen.signed_out, seen.without_tasks) == (0, 0)


class Seen:
    """Calls the service with every token of a state, and counts users that were signed out or lost a task."""

    def __init__(self, users: tuple[str, ...]) -> None:
        self.users = users
        self.calls = self.signed_out = self.without_tasks = 0

    def call(self, client: httpx.Client, state: State) -> None:
        first = self.calls == 0
        for user in self.users:
            for make in state.tokens:
                headers = {"Authorization": make(user).decode()}
                if first:
                    for title in ("Buy milk", "Buy bread"):
                        client.post("/api/me/tasks", json={"title": title}, headers=headers)
                answer = client.get("/api/me/tasks", headers=headers)
                self.calls += 1
                self.signed_out += answer.status_code == 401
                self.without_tasks += answer.status_code == 200 and len(answer.json()) != 2
                assert answer.status_code in (200, 401), answer.text


def test_overlap_of_secrets_keeps_cursors(database: str) -> None:
    old, new = {"jwt_secret": secret(OLD_SECRET)}, {"jwt_secret": secret(NEW_SECRET)}
    with serving(database_url=database, cursor_secret="", **old) as api:
        ada = api.caller()
        for title in "abc":
            ada.create(title=title)
        link = ada.request("GET", f"{ada.tasks}?limit=1").headers["link"].partition(">")[0].removeprefix("<")
    with serving(database_url=database, cursor_secret="", **new, jwt_secret_previous=secret(OLD_SECRET)) as api:
        again = api.caller(UUID(ada.id))
        assert again.request("GET", link).status_code == 200
    with serving(database_url=database, cursor_secret="", **new) as api:
        again = api.caller(UUID(ada.id))
        assert again.request("GET", link).status_code == 422
