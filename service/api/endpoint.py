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

from service.api.payloads import CutShort, Fields, Response, decode, read_body, refusal, send_response
from service.api.problems import (
    FORBIDDEN,
    OUTCOME_UNKNOWN,
    UNAUTHORIZED,
    UNAVAILABLE,
    Headers,
    Problem,
    invalid,
    problem_for,
)
from service.auth.authenticator import Authenticator, User
from service.db.connection import UUID
from service.db.database import Database
from service.observability.log import RequestLog, request_id
from service.settings import Settings
from service.tasks.query import Cursors

T = TypeVar("T")

logger = logging.getLogger(__name__)

UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
CANONICAL = re.compile(UUID_PATTERN).fullmatch
"""RFC 9562, section 4. Laxer parsers also take braces, urn:uuid: and any place for the hyphens."""

PRIVATE: Headers = ((b"cache-control", b"private, no-cache"), (b"vary", b"authorization"))


class Service(msgspec.Struct, frozen=True):
    """What every endpoint works with; made once, in app.py."""

    settings: Settings
    authenticator: Authenticator
    database: Database
    log: RequestLog
    cursors: Cursors


class Request(msgspec.Struct, gc=False):
    """A request that may be answered: `user` is who asks, `task_id` what the path names."""

    user: User
    task_id: UUID | None
    query: bytes
    fields: Fields
    receive: Receive
    service: Service

    @property
    def database(self) -> Database:
        return self.service.database

    async def body(self) -> bytes:
        """The whole body. Raises Problem when it is encoded, too large or cut short."""
        return await read_body(self.receive, self.fields, self.service.settings.max_body_bytes)

    async def json(self, decoder: msgspec.json.Decoder[T]) -> T:
        """The body as the decoder's type. Raises Problem(INVALID) that names the member at fault."""
        return decode(decoder, await self.body())


Handler = Callable[[Request], Awaitable[Response]]


class Private:
    """An endpoint for the user in the path and nobody else. Refuses in the order 401, 422 (path), 403."""

    def __init__(self, handler: Handler, service: Service) -> None:
        self.name = handler.__name__
        self._handler = handler
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        fields = _fields(scope["headers"])
        number = request_id(fields.get(b"x-request-id"))
        try:
            user = await self._user(fields)
            request = Request(
                user, _task_id(scope["path_params"], user), scope["query_string"], fields, receive, self._service
            )
            response = await self._handler(request)
        except (Exception, asyncio.CancelledError) as error:
            response = refusal(self._problem(error, scope, number))
        status = response.status
        try:
            await send_response(send, response, (*PRIVATE, (b"x-request-id", number)))
        except (Exception, asyncio.CancelledError) as error:  # between the pages of a list
            status = self._problem(error, scope, number).kind.status  # for the log: the caller has seen 200
            raise CutShort from None
        finally:
            self._service.log.write(scope["method"], self.name, status, perf_counter() - started, number)

    def _problem(self, error: BaseException, scope: Scope, number: bytes) -> Problem:
        if not isinstance(error, Exception):  # the stop has its deadline
            return Problem(UNAVAILABLE if scope["method"] in ("GET", "HEAD") else OUTCOME_UNKNOWN)
        problem = problem_for(error)  # a row of the error table
        if problem.kind.status == 500:
            logger.error("%s failed, request %s", self.name, number.decode(), exc_info=error)
        return problem

    async def _user(self, fields: Fields) -> User:
        authorization = fields.get(b"authorization")
        if authorization is None:
            raise Problem(UNAUTHORIZED)
        authenticator = self._service.authenticator
        return authenticator.cached(authorization) or await authenticator.verify(authorization)


def _fields(headers: list[tuple[bytes, bytes]]) -> Fields:
    """The fields by name; the values of one that comes twice are a list (RFC 9110, section 5.3)."""
    fields: Fields = dict(headers)
    if len(fields) == len(headers):
        return fields
    values = defaultdict(list)
    for name, value in headers:
        values[name].append(value)
    return {name: b", ".join(several) for name, several in values.items()}


def _task_id(path: dict[str, str], user: User) -> UUID | None:
    """The task's id, once the path is known to be this user's."""
    for name, text in path.items():
        if text != user.id and not CANONICAL(text):
            raise invalid(["path", name], "is not a UUID", "uuid")
    if path["user_id"].lower() != user.id:
        raise Problem(FORBIDDEN)
    task_id = path.get("task_id")
    return UUID(task_id) if task_id else None


class Public:
    """An endpoint for everybody. It asks neither the token nor the database."""

    def __init__(self, respond: Callable[[], Response], service: Service, name: str) -> None:
        self.name = name
        self._respond = respond
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        number = request_id(dict(scope["headers"]).get(b"x-request-id"))
        response = self._respond()
        await send_response(send, response, ((b"x-request-id", number),))
        self._service.log.write(scope["method"], self.name, response.status, perf_counter() - started, number)
