"""The list of a user's tasks: one response while it is short, otherwise streamed page by page."""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import groupby
from uuid import UUID

from service.api.endpoint import Request
from service.api.etags import conditional_response, list_tag, parse_conditions
from service.api.payloads import JSON, Response
from service.api.problems import PRECONDITION_FAILED, Headers, Problem
from service.db.statements import Row, Statement
from service.tasks.handlers import GET_TASK
from service.tasks.query import ListQuery, next_link, parse_query
from service.tasks.types import all_short, encode_task, encode_tasks, is_long

PAGE = 500
"""The first read of a list without `limit`. If fewer rows come, the list is complete, and one statement was enough."""

FURTHER_PAGE = 50
"""The further reads of a streamed list. Each returns its connection, so that other requests run between them."""

LIST_TASKS = Statement("list_tasks", batch_columns=(1,), fixed_arguments=(PAGE,))


async def list_tasks(request: Request) -> Response:
    """List the user's tasks, newest first.

    All of them, as an array. With `limit` it is one page, and `Link` has the address of the next one. The filters and
    the order may be combined.
    """
    conditions = parse_conditions(request.headers)
    if not request.query:
        query = ListQuery()
        rows = await request.database.run(LIST_TASKS, request.user.id)
    else:
        query = parse_query(request)
        rows = await _read(request, query, query.limit + 1 if query.limit else PAGE)
    headers: Headers = ()
    link = b""
    if query.limit and len(rows) > query.limit:  # the row over the limit shows that there is another page
        rows = rows[: query.limit]
        link = next_link(request, query, rows[-1])
        headers = ((b"link", link),)
    is_complete = query.limit or len(rows) < PAGE
    if is_complete and all_short(rows):
        body = encode_tasks(rows)
        return conditional_response(conditions, list_tag(body, link), body, headers)
    if conditions and not conditions.any_version:  # a streamed list has no ETag
        raise Problem(PRECONDITION_FAILED)
    return Response(200, b"[", JSON + headers, more=_stream(request, query, rows))


async def _stream(request: Request, query: ListQuery, rows: list[Row]) -> AsyncIterator[bytes]:
    """The rest of the array after its bracket: `rows`, and unless there is a limit, the pages after them."""
    comma = b""
    while rows:
        parts, last = deque(_parts(rows)), rows[-1]
        is_last_page = query.limit or len(rows) < FURTHER_PAGE
        rows = []  # a slow client keeps this generator for long: the rows must not stay in memory with their encoding
        while parts:
            part = parts.popleft()
            piece = part if isinstance(part, bytes) else await _long_task(request, part)
            if piece:
                piece = comma + piece
                yield piece
                comma = b","
        if not is_last_page:
            query = query.after(last)
            rows = await _read(request, query, FURTHER_PAGE)
    yield b"]"


def _parts(rows: list[Row]) -> Iterator[bytes | UUID]:
    """The encoding of each run of short tasks, without brackets; the id of each long task."""
    for long, run in groupby(rows, is_long):
        if long:
            yield from (row["id"] for row in run)
        else:
            yield encode_tasks(run)[1:-1]


async def _long_task(request: Request, id: UUID) -> bytes:
    """A long task's encoding; empty if the task was deleted after the list was read."""
    rows = await request.database.run(GET_TASK, request.user.id, id)
    return encode_task(rows[0]) if rows else b""


async def _read(request: Request, query: ListQuery, size: int) -> list[Row]:
    return await request.database.run(query.order.statement, request.user.id, *query.arguments(size))
