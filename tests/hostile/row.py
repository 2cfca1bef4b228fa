"""A hostile input and the expected response."""

from collections.abc import Callable

import msgspec

from tests.hostile.target import Target


class Row(msgspec.Struct, frozen=True):
    """`sent` makes the bytes to send. With `method` HEAD, the response has no body."""

    what: str
    status: int
    sent: Callable[[Target], bytes]
    method: str = "GET"


def call(what: str, status: int, method: str, path: str, *headers: str, body: bytes = b"") -> Row:
    """A request with a valid token of Eve. `path` may contain names of attributes of the target, such as {tasks}."""

    def sent(target: Target) -> bytes:
        return target.authorized(method, path.format_map(vars(target)), *headers, body=body)

    return Row(what, status, sent, method)
