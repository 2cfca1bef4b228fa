"""Endpoints: the ASGI applications that authenticate a request, run its handler, send the response and log it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

import msgspec
from starlette.types import Receive, Scope, Send

from service.api.exceptions import problem_for
from service.api.payloads import (
    RequestHeaders,
    Response,
    ResponseAborted,
    problem_response,
    read_body,
    send_response,
)
from service.api.problems import (
    FORBIDDEN,
    NO_KEYS,
    OUTCOME_UNKNOWN,
    UNAUTHORIZED,
    UNAVAILABLE,
    Headers,
    Problem,
    invalid,
)
from service.auth.authenticator import Authenticator, User
from service.db import UUID
from service.db.database import Database
from service.db.failures import FailureLog
from service.observability.request_log import RequestLog, accept_request_id
from service.settings import Settings

logger = logging.getLogger(__name__)

UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
"""RFC 9562, section 4."""

CACHE_CONTROL = (b"cache-control", b"private, no-cache")

ME = "me"
"""In place of the path's user id: the token's user, for pages that know no id."""


class Dependencies(msgspec.Struct, frozen=True):
    """What every endpoint needs. One instance per process, made in app.py."""

    settings: Settings
    authenticator: Authenticator
    database: Database
    log: RequestLog
    failures: FailureLog
    signing_keys: tuple[bytes, ...]
    """For values that clients send back, such as cursors: the first signs, all verify."""


class Request(msgspec.Struct, gc=False):
    """An authenticated request. `resource_id` is the path's `id`, None if the path has none."""

    user: User
    resource_id: UUID | None
    query: bytes
    headers: RequestHeaders
    receive: Receive
    database: Database  # of `dependencies`: a property would cost each request a call
    dependencies: Dependencies

    def body(self) -> Awaitable[bytes]:
        """The whole body. Raises Problem if it is encoded, too large or incomplete."""
        return read_body(self.receive, self.headers, self.dependencies.settings.max_body_bytes)


Handler = Callable[[Request], Awaitable[Response]]
PublicHandler = Callable[[], Response]


class AuthenticatedEndpoint:
    """An endpoint for the user in the path. Refuses in the order 401, 422 (path), 403; then the handler runs.

    `vary` is the Vary header of every response, 304 included.
    """

    def __init__(self, handler: Handler, dependencies: Dependencies, vary: bytes = b"authorization") -> None:
        self.name = handler.__name__
        self._handler = handler
        self._dependencies = dependencies
        self._authenticator, self._database = dependencies.authenticator, dependencies.database
        self._headers: Headers = (CACHE_CONTROL, (b"vary", vary))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers = _headers_by_name(scope["headers"])
        request_id = accept_request_id(headers.get(b"x-request-id"))
        try:
            user = self._authenticator.cached(headers.get(b"authorization", b"")) or await self._verify(headers)
            id = _check_path(scope["path_values"], user)
            query = scope["query_string"]
            response = await self._handler(
                Request(user, id, query, headers, receive, self._database, self._dependencies)
            )
        except (Exception, asyncio.CancelledError) as error:
            response = problem_response(self._problem(error, scope, request_id))
        status = response.status
        try:
            await send_response(send, response, (*self._headers, (b"x-request-id", request_id)))
        except (Exception, asyncio.CancelledError) as error:  # a later page of a streamed list fails
            # The client has already received 200: only the log can show the status.
            status = self._problem(error, scope, request_id).type.status
            raise ResponseAborted from None
        finally:
            seconds = perf_counter() - started
            self._dependencies.log.write(scope["method"], self.name, status, seconds, request_id, headers)

    def _problem(self, error: BaseException, scope: Scope, request_id: bytes) -> Problem:
        if not isinstance(error, Exception):  # cancelled: the graceful stop has reached its deadline
            return Problem(UNAVAILABLE if scope["method"] in ("GET", "HEAD") else OUTCOME_UNKNOWN)
        problem = problem_for(error)
        if problem.type.status == 500:
            logger.error("%s failed, request %s", self.name, request_id.decode(), exc_info=error)
        elif problem.type.status in (409, 503) and problem.type is not NO_KEYS:
            self._dependencies.failures.note(self.name, error)
        return problem

    async def _verify(self, headers: RequestHeaders) -> User:
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise Problem(UNAUTHORIZED)
        return await self._authenticator.verify(authorization)


def _headers_by_name(pairs: list[tuple[bytes, bytes]]) -> RequestHeaders:
    """The headers by name. The values of a repeated header are joined to one list (RFC 9110, section 5.3)."""
    headers: RequestHeaders = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    values = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    return {name: b", ".join(several) for name, several in values.items()}


def _check_path(values: Sequence[str], user: User) -> UUID | None:
    """The path's `id`, from `values`: the user id and, for one task, its `id`.

    Raises Problem(INVALID) for a value that is no UUID, and Problem(FORBIDDEN) for the path of another user.

    Every value is checked before the user is compared: a malformed `id` is 422 in another user's path too.
    """
    owner = user.id_text if values[0] == ME else values[0]
    if owner != user.id_text:
        owner = str(_parse_uuid(owner, "user_id"))
    id = _parse_uuid(values[1], "id") if len(values) > 1 else None
    if owner != user.id_text:
        raise Problem(FORBIDDEN)
    return id


def _parse_uuid(text: str, name: str) -> UUID:
    """The path parameter `name`, as UUID_PATTERN describes it. UUID() takes hyphens anywhere, or none."""
    try:
        value = UUID(text)
    except ValueError:
        raise invalid(["path", name], "uuid") from None
    if str(value) != text.lower():
        raise invalid(["path", name], "uuid")
    return value


class PublicEndpoint:
    """An endpoint that needs no token and runs no statement."""

    def __init__(self, handler: PublicHandler, dependencies: Dependencies, name: str) -> None:
        self.name = name
        self._handler = handler
        self._dependencies = dependencies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers = dict(scope["headers"])
        request_id = accept_request_id(headers.get(b"x-request-id"))
        response = self._handler()
        await send_response(send, response, ((b"x-request-id", request_id),))
        seconds = perf_counter() - started
        self._dependencies.log.write(scope["method"], self.name, response.status, seconds, request_id, headers)
