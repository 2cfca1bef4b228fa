"""A hostile input and the answer that is expected to it."""

from collections.abc import Callable

import msgspec

from tests.hostile.target import Target


class Row(msgspec.Struct, frozen=True):
    """`sent` is what goes over the wire, and `method` says whether its answer has a body."""

    what: str
    status: int
    sent: Callable[[Target], bytes]
    method: str = "GET"


def call(what: str, status: int, method: str, path: str, *fields: str, body: bytes = b"") -> Row:
    """A call with a good token of Eve's. `path` may have {tasks}, {task}, {adas_task} and their like in it."""

    def sent(target: Target) -> bytes:
        return target.authorized(method, path.format_map(vars(target)), *fields, body=body)

    return Row(what, status, sent, method)
