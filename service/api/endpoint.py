"""A private operation as an ASGI endpoint: who asks, for what, the handler, the answer, the log line."""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from service.api.payloads import (
    RequestHeaders,
    Response,
    ResponseAborted,
    decode,
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
    problem_for,
)
from service.auth.authenticator import Authenticator, User
from service.db import UUID
from service.db.database import Database
from service.db.failures import FailureLog
from service.observability.request_log import RequestLog, accept_request_id
from service.settings import Settings
from service.tasks.query import Cursors

T = TypeVar("T")

logger = logging.getLogger(__name__)

UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
CANONICAL = re.compile(UUID_PATTERN).fullmatch
"""RFC 9562, section 4. Laxer parsers also take braces, urn:uuid: and any place for the hyphens."""

PRIVATE: Headers = ((b"cache-control", b"private, no-cache"), (b"vary", b"authorization"))


class Dependencies(msgspec.Struct, frozen=True):
    """What every endpoint works with; made once, in app.py."""

    settings: Settings
    authenticator: Authenticator
    database: Database
    log: RequestLog
    failures: FailureLog
    cursors: Cursors


class Request(msgspec.Struct, gc=False):
    """A request that may be answered: `user` is who asks, `task_id` what the path names."""

    user: User
    task_id: UUID | None
    query: bytes
    headers: RequestHeaders
    receive: Receive
    dependencies: Dependencies

    @property
    def database(self) -> Database:
        return self.dependencies.database

    async def body(self) -> bytes:
        """The whole body. Raises Problem when it is encoded, too large or cut short."""
        return await read_body(self.receive, self.headers, self.dependencies.settings.max_body_bytes)

    async def json(self, decoder: msgspec.json.Decoder[T]) -> T:
        """The body as the decoder's type. Raises Problem(INVALID) that names the member at fault."""
        return decode(decoder, await self.body())


Handler = Callable[[Request], Awaitable[Response]]


class AuthenticatedEndpoint:
    """An endpoint for the user in the path and nobody else. Refuses in the order 401, 422 (path), 403."""

    def __init__(self, handler: Handler, dependencies: Dependencies) -> None:
        self.name = handler.__name__
        self._handler = handler
        self._dependencies = dependencies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers = _by_name(scope["headers"])
        request_id = accept_request_id(headers.get(b"x-request-id"))
        try:
            user = await self._user(headers)
            request = Request(
                user, _task_id(scope["path_params"], user), scope["query_string"], headers, receive, self._dependencies
            )
            response = await self._handler(request)
        except (Exception, asyncio.CancelledError) as error:
            response = problem_response(self._problem(error, scope, request_id))
        status = response.status
        try:
            await send_response(send, response, (*PRIVATE, (b"x-request-id", request_id)))
        except (Exception, asyncio.CancelledError) as error:  # between the pages of a list
            status = self._problem(error, scope, request_id).type.status  # for the log: the caller has seen 200
            raise ResponseAborted from None
        finally:
            traceparent = headers.get(b"traceparent")
            seconds = perf_counter() - started
            self._dependencies.log.write(scope["method"], self.name, status, seconds, request_id, traceparent)

    def _problem(self, error: BaseException, scope: Scope, request_id: bytes) -> Problem:
        if not isinstance(error, Exception):  # the stop has its deadline
            return Problem(UNAVAILABLE if scope["method"] in ("GET", "HEAD") else OUTCOME_UNKNOWN)
        problem = problem_for(error)  # a row of the error table
        if problem.type.status == 500:
            logger.error("%s failed, request %s", self.name, request_id.decode(), exc_info=error)
        elif problem.type.status == 503 and problem.type is not NO_KEYS:
            self._dependencies.failures.note(self.name, error)
        return problem

    async def _user(self, headers: RequestHeaders) -> User:
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise Problem(UNAUTHORIZED)
        authenticator = self._dependencies.authenticator
        return authenticator.cached(authorization) or await authenticator.verify(authorization)


def _by_name(pairs: list[tuple[bytes, bytes]]) -> RequestHeaders:
    """The headers by name. The values of a repeated header are joined to one list (RFC 9110, section 5.3)."""
    headers: RequestHeaders = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    values = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    return {name: b", ".join(several) for name, several in values.items()}


def _task_id(path: dict[str, str], user: User) -> UUID | None:
    """The task's id, once the path is known to be this user's."""
    for name, text in path.items():
        if text != user.id_text and not CANONICAL(text):
            raise invalid(["path", name], "is not a UUID", "uuid")
    if path["user_id"].lower() != user.id_text:
        raise Problem(FORBIDDEN)
    task_id = path.get("task_id")
    return UUID(task_id) if task_id else None


class PublicEndpoint:
    """An endpoint for everybody. It asks neither the token nor the database."""

    def __init__(self, respond: Callable[[], Response], dependencies: Dependencies, name: str) -> None:
        self.name = name
        self._respond = respond
        self._dependencies = dependencies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        request_id = accept_request_id(dict(scope["headers"]).get(b"x-request-id"))
        response = self._respond()
        await send_response(send, response, ((b"x-request-id", request_id),))
        self._dependencies.log.write(scope["method"], self.name, response.status, perf_counter() - started, request_id)
