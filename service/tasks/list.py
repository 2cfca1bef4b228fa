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
from service.tasks.types import all_short, encode_elements, encode_task, encode_tasks, is_long, positions

PAGE = 500
"""The first read of a list without `limit`. If fewer rows come, the list is complete, and one statement was enough."""

FURTHER_PAGE = 50
"""The further reads of a streamed list. Each returns its connection, so that other requests run between them."""

LIST_TASKS = Statement("list_tasks", batch_columns=positions("user_id"), limit=PAGE)


async def list_tasks(request: Request) -> Response:
    """List the user's tasks, newest first.

    All of them, as an array. With `limit` it is one page, and `Link` has the address of the next one. The filters and
    the order may be combined.
    """
    conditions = parse_conditions(request.headers)
    headers: Headers = ()
    link = b""
    next_query: ListQuery | None = None
    if not request.query:
        rows = await request.database.run(LIST_TASKS, request.user.id)
        if len(rows) == PAGE:
            next_query = ListQuery().after(rows[-1])
    else:
        query = parse_query(request)
        rows, next_query = await _read(request, query, query.limit or PAGE)
        if query.limit and next_query:
            link = next_link(request, next_query)
            headers = ((b"link", link),)
            next_query = None
    if next_query is None and all_short(rows):
        body = encode_tasks(rows)
        return conditional_response(conditions, list_tag(body, link), body, headers)
    if conditions and not conditions.any_version:  # a streamed list has no ETag
        raise Problem(PRECONDITION_FAILED)
    return Response(200, b"[", JSON + headers, more=_stream(request, rows, next_query))


async def _read(request: Request, query: ListQuery, size: int) -> tuple[list[Row], ListQuery | None]:
    """At most `size` tasks, and the query of those after them: None at the end of the list.

    There may be fewer before the end, even none: the statement scans a bounded number of tasks.
    """
    rows = await request.database.run(query.order.statement, request.user.id, *query.arguments(size + 1))
    matches = [row for row in rows if row["is_match"]]
    if len(matches) > size:
        return matches[:size], query.after(matches[size - 1])
    is_end = not rows or not rows[-1]["is_window_end"]
    return matches, None if is_end else query.after(rows[-1])


async def _stream(request: Request, rows: list[Row], next_query: ListQuery | None) -> AsyncIterator[bytes]:
    """The rest of the array after its bracket: `rows`, and the pages of `next_query` after them."""
    comma = b""
    while True:
        parts = deque(_parts(rows))
        rows = []  # a slow client keeps this generator for long: the rows must not stay in memory with their encoding
        while parts:
            part = parts.popleft()
            piece = part if isinstance(part, bytes) else await _long_task(request, part)
            if piece:
                piece = comma + piece
                yield piece
                comma = b","
        if next_query is None:
            break
        rows, next_query = await _read(request, next_query, FURTHER_PAGE)
    yield b"]"


def _parts(rows: list[Row]) -> Iterator[bytes | UUID]:
    """The encoding of each run of short tasks, without brackets; the id of each long task."""
    for long, run in groupby(rows, is_long):
        if long:
            yield from (row["id"] for row in run)
        else:
            yield encode_elements(list(run))


async def _long_task(request: Request, id: UUID) -> bytes:
    """A long task's encoding; empty if the task was deleted after the list was read."""
    rows = await request.database.run(GET_TASK, request.user.id, id)
    return encode_task(rows[0]) if rows else b""
