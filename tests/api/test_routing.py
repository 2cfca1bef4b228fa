"""The router, compared with Starlette's on thousands of unusual requests."""

from collections.abc import Iterator
from urllib.parse import unquote
from uuid import UUID

import pytest
from msgspec import structs
from msgspec.json import decode
from starlette.types import ASGIApp, Message

from bench.routing import starlette_router
from service.api.endpoint import Handler, Request
from service.api.payloads import Response, encode
from service.app import ROUTES, create_app
from service.auth.authenticator import issue_token
from service.observability.log import STDOUT, Output
from service.settings import read_settings
from tests.serving import SECRET, serving
from tests.tokens import ADA, BOB

TASK = "0195d1f0-6c7a-7000-8000-000000000002"

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "G%T", ""]

ODD = [
    *("", ".", "..", "...", "*", "+", ";a=b", ":", "~", "%2F", "%2f%2F", "%5C", "%252F", "%00", "%09", "%0A", "%0D%0A"),
    *("%20", "%7F", "%FF", "%C3%A9", "%E2%80%A8", "%EF%BC%8F", "%F0%9F%98%80", "%2e%2E", "%3F", "%23", "%", "a" * 9000),
    *("api", "API", "tasks", "complete", "health", "{user_id}", BOB, ADA.upper(), f"%7B{ADA}%7D", ADA.replace("-", "")),
]
"""Values that replace, precede or follow a segment, as they are sent."""

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

SETTINGS = read_settings({"DATABASE_URL": "postgresql:///", "JWT_SECRET": SECRET, "LOG_LEVEL": "error"})
TOKEN = issue_token(SETTINGS, UUID(ADA), 3600)


def addresses() -> list[str]:
    return [path.format(user_id=ADA, id=TASK) for path in dict.fromkeys(route.path for route in ROUTES)]


def odd_addresses() -> set[str]:
    return {odd for address in addresses() for odd in _odd(address)} | {"", "/", "//", "*", "http://a/livez", "\n"}


def _odd(address: str) -> Iterator[str]:
    segments = address.split("/")
    yield from (address, address.upper(), address.title(), address + "/", address[1:], address.replace("/", "//"))
    yield from ("/".join(segments[::-1]), address * 2, address + "?", address + "?" + address)
    for index, segment in enumerate(segments):
        before, after = segments[:index], segments[index + 1 :]
        yield "/".join(before + after)
        for odd in ODD:
            for middle in ([odd], [odd, segment], [segment, odd], [odd + segment], [segment + odd]):
                yield "/".join(before + middle + after)


def named_by(handler: Handler) -> Handler:
    """A handler that answers with the name of the one it replaces, the user's id and the path's id."""

    async def answer(request: Request) -> Response:
        return Response(200, encode([handler.__name__, request.user.id_text, str(request.resource_id)]))

    answer.__name__ = handler.__name__
    return answer


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output(STDOUT)
    yield output
    output.close()


@pytest.fixture
def app(output: Output, monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    """The application, with handlers that need no database."""
    routes = [route if route.public else structs.replace(route, handler=named_by(route.handler)) for route in ROUTES]
    monkeypatch.setattr("service.app.ROUTES", routes)
    return create_app(SETTINGS, output)


@pytest.fixture
def reference(app: ASGIApp, output: Output, monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    """The same application with Starlette's router."""
    monkeypatch.setattr("service.app.Router", starlette_router)
    return create_app(SETTINGS, output)


async def answer(app: ASGIApp, method: str, address: str) -> Answer:
    path, _, query = address.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": unquote(path),  # as uvicorn does
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (b"host", b"elsewhere.example"),
            (b"authorization", f"Bearer {TOKEN}".encode()),
            (b"x-request-id", b"the-same"),
        ],
    }
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start, *pieces = messages
    return start["status"], list(start["headers"]), b"".join(piece.get("body", b"") for piece in pieces)


async def test_router_answers_as_starlette_does(app: ASGIApp, reference: ASGIApp) -> None:
    requests = [(method, address) for method in METHODS for address in sorted(odd_addresses())]
    statuses = set()
    for method, address in requests:
        if unquote(address).endswith("\n"):
            continue  # Starlette's pattern ends with $, which matches before a last newline too: see the test below
        seen = await answer(app, method, address)
        assert seen == await answer(reference, method, address), (method, address)
        statuses.add(seen[0])

    assert len(requests) > 40_000
    assert statuses == {200, 307, 403, 404, 405, 422, 503}
    assert (await answer(app, "GET", "/api//tasks"))[0] == 404  # Starlette's own redirects are off


@pytest.mark.parametrize("address", addresses())
async def test_router_answers_404_for_a_path_with_a_last_newline(app: ASGIApp, address: str) -> None:
    assert (await answer(app, "GET", address + "%0A"))[0] in (404, 422)  # 422 where it is part of an id


async def test_router_reaches_each_operation(app: ASGIApp) -> None:
    for route in ROUTES:
        if route.public:
            continue
        status, _, body = await answer(app, route.method, route.path.format(user_id=ADA, id=TASK))

        assert status == 200
        assert decode(body) == [route.handler.__name__, ADA, TASK if "{id}" in route.path else "None"]


@pytest.mark.parametrize("address", addresses())
async def test_router_answers_405_with_all_methods_of_the_path(app: ASGIApp, address: str) -> None:
    known = {route.method for route in ROUTES if route.path.format(user_id=ADA, id=TASK) == address}
    allowed = known | ({"HEAD"} if "GET" in known else set())
    for method in {"OPTIONS", "BREW", "POST", "DELETE", "get"} - known:
        status, headers, body = await answer(app, method, address)

        assert (status, decode(body)["detail"]) == (405, "This address does not take this method.")
        assert set(dict(headers)[b"allow"].decode().split(", ")) == allowed


@pytest.mark.parametrize("address", ["", "/api", f"/api/{ADA}", f"/api/{ADA}/tasks/", "//livez", "/Livez"])
async def test_router_answers_404_for_an_unknown_path(app: ASGIApp, address: str) -> None:
    for method in METHODS:
        status, headers, body = await answer(app, method, address)

        assert (status, decode(body)["detail"]) == (404, "There is nothing here.")
        assert dict(headers)[b"content-type"] == b"application/problem+json"


def test_router_answers_head_as_get_without_the_body() -> None:
    with serving(database_url="postgresql://127.0.0.1:1/nowhere") as api:
        for path in ("/livez", "/openapi.json", f"/api/{ADA}/tasks", "/nowhere"):
            get, head = api.anonymous.get(path), api.anonymous.head(path)

            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))
