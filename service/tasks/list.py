"""The list of a user's tasks: in one piece while it is short, else page by page, as fast as its reader takes it."""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import groupby
from operator import itemgetter
from uuid import UUID

from service.api.endpoint import Request
from service.api.etags import list_tag, not_modified_or, parse_if_none_match
from service.api.payloads import JSON, Response, encode
from service.db.statements import Row, Statement
from service.tasks.handlers import GET_TASK, Task
from service.tasks.query import Listing, read_listing

PAGE = 500
"""A list of fewer tasks, none of them long, is one statement and one write."""

FURTHER_PAGE = 50
"""A longer list is read and sent so many at a time from there on, and others get their turn between."""

LIST_TASKS = Statement("list_tasks", batch_columns=(1,), fixed_arguments=(PAGE,))

TITLE = itemgetter(2)
"""Of a row. It is '' in a list's row for a long task, whose texts are not there."""


async def list_tasks(request: Request) -> Response:
    """All of the user's tasks, newest first, or those that the query asks for."""
    known = parse_if_none_match(request.headers)
    if not request.query:
        listing = Listing()
        rows = await request.database.run(LIST_TASKS, request.user.id)
    else:
        listing = read_listing(request.query, request.user.id_text, request.dependencies.cursors)
        rows = await _rows(request, listing, listing.limit + 1 if listing.limit else PAGE)
    headers = JSON
    if listing.limit and len(rows) > listing.limit:
        rows = rows[: listing.limit]
        headers += listing.next_page(rows[-1], request.user.id_text, request.dependencies.cursors)
    if not (listing.limit or len(rows) < PAGE) or not all(map(TITLE, rows)):
        return Response(200, b"[", headers, more=_pieces(request, listing, rows))
    body = encode([Task(*row) for row in rows])
    return not_modified_or(known, list_tag(body, headers), body, headers)


async def _pieces(request: Request, listing: Listing, rows: list[Row]) -> AsyncIterator[bytes]:
    """What follows a list's bracket: `rows`, and the pages after them unless the caller asked for one."""
    comma = b""
    while rows:
        parts, last = deque(_parts(rows)), rows[-1]
        is_over = listing.limit or len(rows) < FURTHER_PAGE
        rows = []  # the reader may be slow, and has others beside him: what waits for him is as little as can be
        while parts:
            part = parts.popleft()
            piece = part if isinstance(part, bytes) else await _long_task(request, part)
            if piece:
                piece = comma + piece
                yield piece
                comma = b","
        if not is_over:
            listing = listing.after(last)
            rows = await _rows(request, listing, FURTHER_PAGE)
    yield b"]"


def _parts(rows: list[Row]) -> Iterator[bytes | UUID]:
    """The rows' tasks as they stand in a list, many at a time; of each long one its id."""
    for is_long, run in groupby(rows, lambda row: not TITLE(row)):
        if is_long:
            yield from (row[0] for row in run)
        else:
            yield encode([Task(*row) for row in run])[1:-1]


async def _long_task(request: Request, task_id: UUID) -> bytes:
    """A task as it stands in a list; nothing when it has been deleted meanwhile."""
    rows = await request.database.run(GET_TASK, request.user.id, task_id)
    return encode(Task(*rows[0][:7])) if rows else b""


async def _rows(request: Request, listing: Listing, size: int) -> list[Row]:
    return await request.database.run(listing.order.statement, request.user.id, *listing.arguments(size))
