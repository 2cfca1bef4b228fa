"""The OpenAPI document, compared with the service on every route, and the headers of the page that shows it."""

import json
import re
import subprocess
import sys
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from service.api.middleware import EXPOSED_HEADERS
from service.app import ROUTES, openapi
from service.dev.command import DEMO_USER
from service.settings import ROOT
from tests.conftest import Postgres
from tests.serving import Api, Caller, serving

DOCUMENT: dict[str, Any] = json.loads(openapi().body)
METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE")
NOWHERE = "0195d1f0-6c7a-7000-8000-000000000009"


OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]
IDS = [operation["operationId"] for _, _, operation in OPERATIONS]


@pytest.fixture(scope="module")
def api(postgres: Postgres, template: str) -> Iterator[Api]:
    """One service for all of these tests: none depends on the tasks of another."""
    with postgres.database(template) as url, serving(database_url=url) as running:
        yield running


def operation_of(response: httpx.Response) -> dict[str, Any]:
    """What the document says of the operation that answered."""
    for method, path, operation in OPERATIONS:
        if method == response.request.method and re.fullmatch(
            re.sub("{.*?}", "[^/]+", path), response.request.url.path
        ):
            return operation
    raise AssertionError(f"{response.request} is not documented")


def resolved(found: dict[str, Any]) -> dict[str, Any]:
    """The component that `found` refers to."""
    place = DOCUMENT
    for name in found["$ref"].removeprefix("#/").split("/"):
        place = place[name]
    return place


def faults(schema: dict[str, Any], value: Any, closed: bool = True) -> list[str]:
    """Where `value` departs from `schema`; `closed` lets no object have a member that is not documented."""
    components = {
        name: component | ({"additionalProperties": False} if closed else {})
        for name, component in DOCUMENT["components"]["schemas"].items()
    }
    whole = schema | {"components": {"schemas": components}}
    return [str(error) for error in jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(value)]


def answers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Operation, media type and its documentation, for each body of each response and request."""
    for _, _, operation in OPERATIONS:
        for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media_type, media in holder.get("content", {}).items():
                yield operation["operationId"], media_type, media


def assert_example(response: httpx.Response) -> None:
    """Holds a refusal to its documentation, which shows it word for word."""
    examples = assert_documented(response)["content"]["application/problem+json"]["examples"]
    assert response.json() in [example["value"] for example in examples.values()]


def assert_documented(response: httpx.Response) -> dict[str, Any]:
    """Holds an answer to its documentation, which it returns."""
    answer: dict[str, Any] = operation_of(response)["responses"][str(response.status_code)]
    for name, header in answer["headers"].items():
        if name not in response.headers:
            assert not resolved(header)["required"]
            continue
        text = response.headers[name]
        value = int(text) if resolved(header)["schema"]["type"] == "integer" else text
        assert not faults(resolved(header)["schema"], value)
    if not response.content:
        assert "content" not in answer
        return answer
    media = answer["content"][response.headers["content-type"]]
    body = response.json() if "json" in response.headers["content-type"] else response.text
    assert not faults(media["schema"], body)
    return answer


# openapi


def test_openapi_is_valid_openapi_3_1() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name


def test_openapi_answers_with_the_document(api: Api) -> None:
    response = api.anonymous.get("/openapi.json")

    assert response.json() == DOCUMENT
    assert_documented(response)


def test_openapi_is_what_the_command_prints() -> None:
    printed = subprocess.run([sys.executable, "-m", "service", "openapi"], cwd=ROOT, capture_output=True, check=True)

    assert json.loads(printed.stdout) == DOCUMENT


def test_openapi_has_the_version_licence_and_authors_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert DOCUMENT["info"]["version"] == project["version"]
    assert DOCUMENT["info"]["license"]["identifier"] == project["license"]
    assert DOCUMENT["info"]["contact"] == project["authors"][0]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
def test_openapi_has_what_linters_require_of_each_operation(method: str, path: str, operation: dict[str, Any]) -> None:
    """`make client-check` runs the linters."""
    assert operation["summary"]
    assert operation["description"]
    assert any("400" <= status < "500" for status in operation["responses"])


@pytest.mark.parametrize("path", [path for _, path, operation in OPERATIONS if not operation["security"]])
def test_openapi_documents_too_large_headers_of_the_operations_without_a_token(api: Api, path: str) -> None:
    response = api.anonymous.get(path, headers={"X": "x" * 20_000})

    assert response.status_code == 431
    assert_example(response)
    assert "x-request-id" not in response.headers


def test_openapi_has_the_route_table_and_nothing_else() -> None:
    assert [(method, path, operation["operationId"]) for method, path, operation in OPERATIONS] == [
        (route.method, route.path, route.handler.__name__) for route in ROUTES if route.documented
    ]


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_openapi_has_the_methods_that_an_address_takes(api: Api, path: str) -> None:
    address = path.format(user_id=NOWHERE, id=NOWHERE)
    taken = {method for method in METHODS if api.anonymous.request(method, address).status_code not in (404, 405)}

    assert taken == {method for method, documented, _ in OPERATIONS if documented == path}


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
def test_openapi_says_which_operations_need_a_token(
    api: Api, method: str, path: str, operation: dict[str, Any]
) -> None:
    response = api.anonymous.request(method, path.format(user_id=NOWHERE, id=NOWHERE))

    assert (response.status_code == 401) == bool(operation["security"])
    assert_documented(response)


def test_openapi_examples_fit_their_schemas() -> None:
    found = 0
    for operation, media_type, media in answers():
        examples = [example["value"] for example in media.get("examples", {}).values()]
        for example in [*examples, *([media["example"]] if "example" in media else [])]:
            assert not faults(media["schema"], example), (operation, media_type)
            found += 1
    assert found > 50


def test_openapi_examples_are_of_the_demo_user() -> None:
    """So that the token which the development start prints fits the form that the page shows."""
    assert DOCUMENT["components"]["parameters"]["user_id"]["example"] == str(DEMO_USER)


def test_openapi_task_is_what_get_task_answers(ada: Caller) -> None:
    task = ada.get(ada.create(title="x").json()["id"]).json()
    schema = DOCUMENT["components"]["schemas"]["Task"]

    assert list(schema["properties"]) == schema["required"] == list(task)


@pytest.mark.parametrize(
    ("members", "fits"),
    [
        ({"title": "x"}, True),
        ({"description": None}, True),
        ({"title": "x", "description": "y", "completed": "ignored"}, True),
        ({}, False),
        ({"completed": True}, False),
        ({"title": None}, False),
        ({"title": " \n"}, False),
        ({"title": "a\0"}, False),
        ({"title": "x" * 501}, False),
        ({"description": "\0"}, False),
    ],
)
def test_openapi_update_task_fits_what_is_accepted(ada: Caller, members: dict[str, Any], fits: bool) -> None:
    response = ada.update(ada.create(title="x").json()["id"], **members)

    assert (response.status_code == 200) == fits
    assert (not faults({"$ref": "#/components/schemas/UpdateTask"}, members, closed=False)) == fits


PARAMETERS = {
    "limit": ["1", "500", "0", "501", "", "05", "-1", "ten"],
    "completed": ["true", "false", "", "True", "1", "null"],
    "sort": ["-created_at", "created_at", "-updated_at", "updated_at", "", "title", "+created_at"],
    "q": ["x", " ", "\n", "\u00e4\U0001f600", "x" * 200, "", "x" * 201, "a\0"],
}
FIELDS = {
    "If-Match": ["*", '"1"', 'W/"1", "x"', ',"1",, "2",', "1", "", ",", '"1', '"1" "2"', "*,*"],
    "If-None-Match": ["*", '"1"', 'W/"1", "x"', ',"1",, "2",', "1", "", ",", '"1', '"1" "2"', "*,*"],
    "Idempotency-Key": ["x", "~" * 255, "", "~" * 256, "a b"],
    "X-Request-ID": ["x", "", "an invalid id is replaced"],
}


def meant(text: str) -> Any:
    """The value that a query's text stands for in JSON, itself if for none. Booleans may have capitals."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return text


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in PARAMETERS.items() for text in texts])
def test_openapi_list_task_parameters_fit_what_is_accepted(ada: Caller, name: str, text: str) -> None:
    response = ada.request("GET", ada.tasks, params={name: text})
    schema = DOCUMENT["components"]["parameters"][name]["schema"]

    assert response.status_code in (200, 422)
    assert (not faults(schema, text if schema["type"] == "string" else meant(text))) == (response.status_code == 200)


def test_openapi_cursor_is_what_a_link_has(ada: Caller) -> None:
    for title in "xy":
        ada.create(title=title)
    response = ada.request("GET", ada.tasks, params={"limit": 1})
    cursor = httpx.URL(response.links["next"]["url"]).params["cursor"]

    assert_documented(response)
    assert not faults(DOCUMENT["components"]["parameters"]["cursor"]["schema"], cursor)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FIELDS.items() for text in texts])
def test_openapi_header_parameters_fit_what_is_accepted(ada: Caller, name: str, text: str) -> None:
    task = f"{ada.tasks}/{ada.create(title='x').json()['id']}"
    taking = {"If-Match": ("PUT", task), "If-None-Match": ("GET", task)}
    method, path = taking.get(name, ("POST", ada.tasks))
    response = ada.request(method, path, headers={name: text}, json={"title": "x"} if method != "GET" else None)

    assert_documented(response)
    assert {"$ref": f"#/components/parameters/{name}"} in operation_of(response)["parameters"]
    schema = DOCUMENT["components"]["parameters"][name]["schema"]
    assert (not faults(schema, text)) == (response.status_code != 422)


def test_openapi_has_the_headers_that_pages_of_other_origins_can_read() -> None:
    documented = DOCUMENT["components"]["headers"].keys()

    assert documented | {"Server-Timing"} == {*EXPOSED_HEADERS, "WWW-Authenticate"}


SUCCESSES: dict[str, Callable[[Caller, str], httpx.Response]] = {
    "list_tasks": lambda ada, task: ada.list(),
    "create_task": lambda ada, task: ada.create(title="x"),
    "get_task": lambda ada, task: ada.get(task),
    "update_task": lambda ada, task: ada.update(task, title="y"),
    "complete_task": lambda ada, task: ada.complete(task),
    "delete_task": lambda ada, task: ada.delete(task),
    "health": lambda ada, task: ada.request("GET", "/health"),
    "livez": lambda ada, task: ada.request("GET", "/livez"),
    "readyz": lambda ada, task: ada.request("GET", "/readyz"),
    "openapi": lambda ada, task: ada.request("GET", "/openapi.json"),
    "docs": lambda ada, task: ada.request("GET", "/docs"),
}


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
def test_openapi_documents_each_success(ada: Caller, method: str, path: str, operation: dict[str, Any]) -> None:
    response = SUCCESSES[operation["operationId"]](ada, ada.create(title="x").json()["id"])

    assert response.is_success
    assert_documented(response)
    assert [status for status in operation["responses"] if status < "300"] == [str(response.status_code)]


@pytest.mark.parametrize("operation", ["list_tasks", "get_task"])
def test_openapi_documents_304(ada: Caller, operation: str) -> None:
    known = SUCCESSES[operation](ada, ada.create(title="x").json()["id"])

    response = ada.request("GET", known.request.url.path, headers={"If-None-Match": known.headers["etag"]})

    assert response.status_code == 304
    assert_documented(response)


def test_openapi_documents_a_replayed_task(ada: Caller) -> None:
    response = twice(ada, "x", "x")

    assert "idempotent-replayed" in response.headers
    assert_documented(response)


def twice(ada: Caller, *titles: str) -> httpx.Response:
    """The last answer, when each title is sent with the same key."""
    for title in titles:
        response = ada.request("POST", ada.tasks, json={"title": title}, headers={"Idempotency-Key": "k"})
    return response


REFUSALS: dict[str, tuple[str, Callable[[Caller, str], httpx.Response]]] = {
    "another user's tasks": ("403", lambda ada, task: ada.request("GET", f"/api/{NOWHERE}/tasks")),
    "no UUID": ("422", lambda ada, task: ada.request("GET", "/api/x/tasks")),
    "no task": ("404", lambda ada, task: ada.get(NOWHERE)),
    "no title": ("422", lambda ada, task: ada.create()),
    "no JSON": ("422", lambda ada, task: ada.request("POST", ada.tasks, content=b"{")),
    "nothing to update": ("422", lambda ada, task: ada.update(task)),
    "no boolean": ("422", lambda ada, task: ada.complete(task, json={"completed": "yes"})),
    "no limit": ("422", lambda ada, task: ada.request("GET", ada.tasks, params={"limit": 0})),
    "two orders": ("422", lambda ada, task: ada.request("GET", f"{ada.tasks}?sort=created_at&sort=-created_at")),
    "no such cursor": ("422", lambda ada, task: ada.request("GET", ada.tasks, params={"cursor": "x" * 52})),
    "no known tag": ("422", lambda ada, task: ada.request("GET", ada.tasks, headers={"If-None-Match": "1"})),
    "no tag": ("422", lambda ada, task: ada.request("DELETE", f"{ada.tasks}/{task}", headers={"If-Match": "1"})),
    "another version": (
        "412",
        lambda ada, task: ada.request("DELETE", f"{ada.tasks}/{task}", headers={"If-Match": '"2"'}),
    ),
    "no key": (
        "422",
        lambda ada, task: ada.request("POST", ada.tasks, json={"title": "x"}, headers={"Idempotency-Key": ""}),
    ),
    "another task's key": ("422", lambda ada, task: twice(ada, "x", "y")),
    "too large": ("413", lambda ada, task: ada.create(title="x" * 2_000_000)),
    "encoded": ("415", lambda ada, task: ada.complete(task, content=b"x", headers={"Content-Encoding": "gzip"})),
}


@pytest.mark.parametrize(("status", "call"), REFUSALS.values(), ids=REFUSALS)
def test_openapi_examples_are_the_answers(ada: Caller, status: str, call: Callable[..., httpx.Response]) -> None:
    response = call(ada, ada.create(title="x").json()["id"])

    assert str(response.status_code) == status
    assert_example(response)


def test_openapi_documents_each_503_of_an_absent_database() -> None:
    with serving(database_url="postgresql://nobody@127.0.0.1:9/nothing", connect_timeout="0.5") as api:
        ada = api.caller()
        for operation, call in SUCCESSES.items():
            response = call(ada, NOWHERE)
            assert response.status_code == (200 if operation in ("health", "livez", "openapi", "docs") else 503)
            assert_documented(response)


def test_openapi_documents_a_user_who_is_not_registered(database: str) -> None:
    with serving(database_url=database, provision_users="false") as api:
        response = api.caller().create(title="x")

    assert response.status_code == 403
    assert_example(response)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("PATCH", "/health", {}, 405),
        ("GET", "/health", {"Host": "a b"}, 400),
        ("GET", "/health", {"X": "x" * 20_000}, 431),
    ],
)
def test_openapi_lists_the_problems_before_routing(
    api: Api, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = api.anonymous.request(method, path, headers=headers)

    assert response.status_code == status
    assert not faults({"$ref": "#/components/schemas/ProblemDocument"}, response.json())
    assert f"- {status}: {response.json()['detail']}" in DOCUMENT["info"]["description"].splitlines()


# docs


def test_docs_is_where_the_root_redirects_to(api: Api) -> None:
    response = api.anonymous.get("/")

    assert (response.status_code, response.headers["location"], response.content) == (307, "/docs", b"")


def test_docs_names_no_other_host(api: Api) -> None:
    page = api.anonymous.get("/docs").text

    assert not re.findall(r"""(?:src|href|action)\s*=\s*\\?["']?\s*(?:https?:)?//""", page)
    assert not re.findall(r"""(?:url|fetch|import|importScripts)\(\s*["'`]?(?:https?:)?//""", page)
    assert "@import" not in page


def test_docs_may_run_its_own_scripts_and_call_its_own_host_alone(api: Api) -> None:
    response = api.anonymous.get("/docs")
    scripts = re.findall("<script>(.*?)</script>", response.text, re.DOTALL)
    digests = {f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts}
    policy = {
        name: set(sources) for name, *sources in map(str.split, response.headers["content-security-policy"].split(";"))
    }

    assert len(scripts) == 2
    assert policy["script-src"] == digests
    assert policy["connect-src"] == {"'self'"}
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == {"'none'"}
    assert set().union(*policy.values()) == digests | {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert response.headers["x-content-type-options"] == "nosniff"
