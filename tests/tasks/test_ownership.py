"""Only their owner reaches tasks: each operation by another user, the order of refusal, and its cost."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.api.problems import FORBIDDEN, INVALID, NO_SUCH_TASK, UNAUTHORIZED, ProblemType
from service.app import ROUTES
from service.tasks.operations import OPERATIONS
from tests.conftest import Postgres
from tests.database import SERVICE_SESSIONS
from tests.serving import Api, Caller, serving
from tests.tokens import ADA, SECRET, base64url, credentials

Rows = Callable[..., list[Any]]

BODY = {"title": "changed", "description": "changed", "completed": True}
"""Good for every operation that takes one."""


OF_TASKS = {route.handler.__name__: (route.method, route.path) for route in ROUTES if not route.public}
TAKES_A_BODY = [operation for name, operation in OF_TASKS.items() if OPERATIONS[name].body]

every_operation = pytest.mark.parametrize(("method", "path"), OF_TASKS.values(), ids=OF_TASKS)
operations_on_one = pytest.mark.parametrize(
    ("method", "path"), [operation for operation in OF_TASKS.values() if "{id}" in operation[1]]
)
operations_with_a_body = pytest.mark.parametrize(("method", "path"), TAKES_A_BODY)

MALFORMED = [
    "%20",
    "Me",
    "1",
    "*",
    "..%5C",
    "null",
    ADA[:-1],
    ADA + "0",
    "g" + ADA[1:],
    f"{{{ADA}}}",
    f"urn:uuid:{ADA}",
    ADA.replace("-", ""),
    ADA.replace("-", "", 1),
    ADA.replace("-", "_"),
    ADA.replace("1", "\uff11"),  # full-width digits, which uuid.UUID() and int() take
    ADA.replace("1", "\u0661"),  # Arabic digits, likewise
    ADA + "%20",
    ADA + "%0A",
    ADA + "%00",
    "%FF" * 36,
    "' or true --",
    "a" * 5000,
]
"""None is a UUID as RFC 9562 writes it, though laxer parsers take some."""


@pytest.fixture(scope="module")
def database(postgres: Postgres, template: str) -> Iterator[str]:
    with postgres.database(template) as url:
        yield url


@pytest.fixture(scope="module")
def api(database: str) -> Iterator[Api]:
    """On one connection, which only requests use."""
    with serving(database_url=database, pool_min_size=1, pool_max_size=1, probe_interval=3600) as running:
        yield running


def refused(response: httpx.Response, kind: ProblemType) -> None:
    """Answered with `kind`, as a problem document whose detail can be shown."""
    document = response.json()
    assert (response.status_code, document["title"]) == (kind.status, kind.title)
    assert response.headers["content-type"] == "application/problem+json"
    assert isinstance(document["detail"], str)
    if kind is not INVALID:
        assert document == {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": kind.detail}


def places(response: httpx.Response) -> list[str]:
    """What a 422 names."""
    refused(response, INVALID)
    return [".".join(error["loc"]) for error in response.json()["errors"]]


@every_operation
def test_operation_without_a_token_is_401(api: Api, bob: Caller, method: str, path: str) -> None:
    task = bob.create(title="x").json()
    address = path.format(user_id=bob.id, id=task["id"])
    unsigned = base64url(b'{"alg":"none"}') + b"." + base64url(f'{{"sub":"{bob.id}","exp":9999999999}}'.encode()) + b"."
    headers: list[list[tuple[str, str]]] = [
        [],
        [("Authorization", "")],
        [("Authorization", bob.token)],
        [("Authorization", f"Basic {bob.token}")],
        [("Authorization", f"Bearer {bob.token}x")],
        [("Authorization", f"Bearer {unsigned.decode()}")],
        [("Authorization", credentials(SECRET).decode())],  # another service's secret
        [("Authorization", f"Bearer {bob.token}"), ("Authorization", f"Bearer {bob.token}")],
        [("Cookie", f"token={bob.token}; access_token={bob.token}")],
        [("X-User-Id", bob.id)],
    ]
    for sent in headers:
        response = api.anonymous.request(method, address, params={"token": bob.token}, headers=sent, json=BODY)

        assert response.status_code == 401
        shown = "Authorization" in dict(sent)
        assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token"' if shown else "Bearer")
        assert shown or response.headers["www-authenticate"] == "Bearer"
    assert bob.list().json() == [task]


@every_operation
def test_operation_on_another_users_path_is_403(ada: Caller, bob: Caller, method: str, path: str) -> None:
    task = bob.create(title="x").json()

    refused(ada.request(method, path.format(user_id=bob.id, id=task["id"]), json=BODY), FORBIDDEN)

    assert bob.list().json() == [task]
    assert ada.list().json() == []


@operations_on_one
def test_operation_on_another_users_task_is_404_like_a_missing_one(
    ada: Caller, bob: Caller, method: str, path: str
) -> None:
    task = bob.create(title="x").json()
    ada.create(title="y")

    def answer(task_id: str) -> tuple[bytes, dict[str, str]]:
        headers = {"X-Request-ID": "the-same"}
        response = ada.request(method, path.format(user_id=ada.id, id=task_id), json=BODY, headers=headers)
        refused(response, NO_SUCH_TASK)
        return response.content, {name: value for name, value in response.headers.items() if name != "date"}

    assert answer(task["id"]) == answer(str(uuid4()))
    assert bob.list().json() == [task]


@every_operation
def test_operation_on_a_malformed_user_id_names_it(ada: Caller, method: str, path: str) -> None:
    for user_id in MALFORMED:
        response = ada.request(method, path.format(user_id=user_id, id=uuid4()), json=BODY)

        assert places(response) == ["path.user_id"], user_id
        assert response.json()["detail"] == "The user id in the address is not a UUID."


@operations_on_one
def test_operation_on_a_malformed_task_id_names_it(ada: Caller, method: str, path: str) -> None:
    for task_id in MALFORMED:
        response = ada.request(method, path.format(user_id=ada.id, id=task_id), json=BODY)

        assert places(response) == ["path.id"], task_id
        assert response.json()["detail"] == "The id in the address is not a UUID."


@every_operation
def test_operation_without_a_token_is_401_for_every_path(api: Api, method: str, path: str) -> None:
    refused(api.anonymous.request(method, path.format(user_id="me", id="1"), content=b"{"), UNAUTHORIZED)


@operations_on_one
def test_operation_on_a_malformed_path_is_422_before_403(ada: Caller, bob: Caller, method: str, path: str) -> None:
    assert places(ada.request(method, path.format(user_id=bob.id, id="1"), content=b"{")) == ["path.id"]


@operations_with_a_body
def test_operation_on_another_users_path_is_403_for_every_body(
    ada: Caller, bob: Caller, method: str, path: str
) -> None:
    refused(ada.request(method, path.format(user_id=bob.id, id=uuid4()), content=b"{"), FORBIDDEN)


@operations_with_a_body
def test_operation_with_a_bad_body_is_422_whether_or_not_there_is_a_task(ada: Caller, method: str, path: str) -> None:
    task = ada.create(title="x").json()
    for task_id in (task["id"], str(uuid4())):
        for content in (b"{", b"[]", b'{"title": "", "completed": 1}'):
            response = ada.request(method, path.format(user_id=ada.id, id=task_id), content=content)

            assert places(response)[0].startswith("body")
    assert ada.list().json() == [task]


@every_operation
def test_operation_refused_costs_no_statement(api: Api, ada: Caller, rows: Rows, method: str, path: str) -> None:
    address = path.format(user_id=ada.id, id=uuid4())

    def last_statements() -> list[Any]:
        return rows(f"select pid, query_start, state_change {SERVICE_SESSIONS}")

    before = last_statements()
    api.anonymous.request(method, address, json=BODY)
    ada.request(method, path.format(user_id="mine", id=uuid4()), json=BODY)
    ada.request(method, path.format(user_id=uuid4(), id=uuid4()), json=BODY)
    if (method, path) in TAKES_A_BODY:
        ada.request(method, address, content=b"{")
        ada.request(method, address, content=b"[]")
        ada.request(method, address, content=b" " * 1_048_577)
        ada.request(method, address, json=BODY, headers={"Content-Encoding": "gzip"})
    ada.request("OPTIONS", address)
    ada.request(method, address + "/", json=BODY)

    assert len(before) == 1
    assert last_statements() == before
    ada.request(method, address, json=BODY)
    assert last_statements() != before
