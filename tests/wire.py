"""HTTP over a bare socket: requests as no library would send them, answers as they arrive."""

import io
import json
import socket
from typing import Any

import msgspec

Address = tuple[str, int]


class Answer(msgspec.Struct, frozen=True):
    """One answer of a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    def refusal(self) -> str:
        """The problem document's sentence. Fails when this is no problem document, or one of another status."""
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["title"]
        detail = document["detail"]
        assert isinstance(detail, str)
        assert 0 < len(detail) < 500
        return detail


class Wire:
    """A connection. It waits for at most ten seconds."""

    def __init__(self, address: Address, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(address)
        self._stream = io.BufferedReader(self.socket.makefile("rb", buffering=0))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, data: bytes) -> "Wire":
        self.socket.sendall(data)
        return self

    def half_close(self) -> "Wire":
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises EOFError when the connection ends before it does."""
        status = int(self._line().split(b" ", 2)[1])
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(": ")
            assert name not in headers
            headers[name] = value
        return Answer(status, headers, b"" if method == "HEAD" or status < 200 else self._body(status, headers))

    def ended(self) -> bool:
        """Whether the other side has ended the connection; waits for that, or for more."""
        return not self._stream.peek(1)

    def rest(self) -> bytes:
        """What else comes until the other side ends the connection."""
        return self._stream.read()

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError(line)
        return line[:-2]

    def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked"
            assert "content-length" not in headers
            pieces = []
            while size := int(self._line(), 16):
                pieces.append(self._exactly(size))
                assert self._line() == b""
            assert self._line() == b""
            return b"".join(pieces)
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        return b"" if status in (204, 304) else self.rest()

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError(data)
        return data


def request(method: str, path: str, *fields: str, body: bytes = b"") -> bytes:
    """A request in HTTP/1.1, with a Host; and a Content-Length if it has a body, and no field says how long that is."""
    lines = [f"{method} {path} HTTP/1.1", "Host: tasks.example", *fields]
    if body and not any(field.lower().startswith(("content-length", "transfer-encoding")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
