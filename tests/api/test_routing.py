"""The flat route table in front of Starlette's router, compared with that router alone on thousands of odd requests."""

from collections.abc import Iterator
from urllib.parse import unquote
from uuid import UUID

import pytest
from msgspec.json import decode
from starlette.types import ASGIApp, Message

from service.api.endpoint import Handler, Request
from service.api.payloads import Response, encode
from service.app import PRIVATE, PUBLIC, create_app
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
"""What a segment may be replaced by, preceded by, or followed by, as it is sent."""

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

SETTINGS = read_settings({"DATABASE_URL": "postgresql:///", "JWT_SECRET": SECRET, "LOG_LEVEL": "error"})
TOKEN = issue_token(SETTINGS, UUID(ADA), 3600)


def addresses() -> list[str]:
    return [path.format(user_id=ADA, task_id=TASK) for path in dict.fromkeys([*(row[1] for row in PRIVATE), *PUBLIC])]


def odd_addresses() -> set[str]:
    return {odd for address in addresses() for odd in _odd(address)} | {"", "/", "//", "*", "http://a/livez", "\n"}


def _odd(address: str) -> Iterator[str]:
    segments = address.split("/")
    yield from (address, address.upper(), address.title(), address + "/", address[1:], address.replace("/", "//"))
    yield from ("/".join(segments[::-1]), address * 2, address + "?", address + "?" + address)
    for place, segment in enumerate(segments):
        before, after = segments[:place], segments[place + 1 :]
        yield "/".join(before + after)
        for odd in ODD:
            for middle in ([odd], [odd, segment], [segment, odd], [odd + segment], [segment + odd]):
                yield "/".join(before + middle + after)


def named_by(handler: Handler) -> Handler:
    """A handler that answers with the name of the one in whose place it is, and what the path told it."""

    async def answer(request: Request) -> Response:
        return Response(200, encode([handler.__name__, request.user.id_text, str(request.task_id)]))

    answer.__name__ = handler.__name__
    return answer


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output(STDOUT)
    yield output
    output.close()


@pytest.fixture
def flat(output: Output, monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    """The application, where operations need no database."""
    monkeypatch.setattr("service.app.PRIVATE", [(method, path, named_by(handler)) for method, path, handler in PRIVATE])
    return create_app(SETTINGS, output)


@pytest.fixture
def plain(flat: ASGIApp, output: Output, monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    """The same without the flat routes."""
    monkeypatch.setattr("service.app.FlatRoutes", lambda table, starlette: starlette)
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


async def test_routing_answers_as_starlette_does(flat: ASGIApp, plain: ASGIApp) -> None:
    requests = [(method, address) for method in METHODS for address in sorted(odd_addresses())]
    statuses = set()
    for method, address in requests:
        seen = await answer(flat, method, address)
        assert seen == await answer(plain, method, address), (method, address)
        statuses.add(seen[0])

    assert len(requests) > 40_000
    assert statuses == {200, 403, 404, 405, 422, 503}  # and so never a redirect


async def test_routing_reaches_each_operation(flat: ASGIApp) -> None:
    for method, path, handler in PRIVATE:
        status, _, body = await answer(flat, method, path.format(user_id=ADA, task_id=TASK))

        assert status == 200
        assert decode(body) == [handler.__name__, ADA, TASK if "{task_id}" in path else "None"]


@pytest.mark.parametrize("address", addresses())
async def test_routing_of_another_method_is_405_and_allows_all_of_the_paths(flat: ASGIApp, address: str) -> None:
    known = {method for method, path, _ in PRIVATE if path.format(user_id=ADA, task_id=TASK) == address} or {"GET"}
    allowed = known | ({"HEAD"} if "GET" in known else set())
    for method in {"OPTIONS", "BREW", "POST", "DELETE", "get"} - known:
        status, headers, body = await answer(flat, method, address)

        assert (status, decode(body)["detail"]) == (405, "This address does not take this method.")
        assert set(dict(headers)[b"allow"].decode().split(", ")) == allowed


@pytest.mark.parametrize("address", ["/", "", "/api", f"/api/{ADA}", f"/api/{ADA}/tasks/", "//livez", "/Livez"])
async def test_routing_of_an_unknown_path_is_404(flat: ASGIApp, address: str) -> None:
    for method in METHODS:
        status, headers, body = await answer(flat, method, address)

        assert (status, decode(body)["detail"]) == (404, "There is nothing here.")
        assert dict(headers)[b"content-type"] == b"application/problem+json"


def test_routing_of_head_is_get_without_the_body() -> None:
    with serving(database_url="postgresql://127.0.0.1:1/nowhere") as api:
        for path in ("/livez", "/openapi.json", f"/api/{ADA}/tasks", "/nowhere"):
            get, head = api.anonymous.get(path), api.anonymous.head(path)

            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))
