"""HTTP on a socket: no HTTP library sends invalid requests. A blocking client, and one for asyncio."""

import asyncio
import io
import json
import socket
from contextlib import suppress
from typing import Any

import msgspec

Address = tuple[str, int]


class Answer(msgspec.Struct, frozen=True):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem_detail(self) -> str:
        """The detail of the problem document. Fails when the body is not a valid problem document for the status."""
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["title"]
        detail = document["detail"]
        assert isinstance(detail, str)
        assert 0 < len(detail) < 500
        return detail


class Wire:
    """A blocking connection. Each read and write fails after ten seconds."""

    def __init__(self, address: Address, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self._stream = io.BufferedReader(self.socket.makefile("rb", buffering=0))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, data: bytes) -> "Wire":
        self.socket.sendall(data)
        return self

    def half_close(self) -> "Wire":
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def wait_silent(self, seconds: float) -> "Wire":
        """Check that nothing arrives for a time."""
        self.socket.settimeout(seconds)
        try:
            received = self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return self
        finally:
            self.socket.settimeout(10)
        raise AssertionError(received)

    def answer(self, method: str = "GET") -> Answer:
        """The next response. Raises EOFError when the connection ends within it."""
        lines = [self._line()]
        while line := self._line():
            lines.append(line)
        status, headers = parse_head(lines)
        return Answer(status, headers, b"" if method == "HEAD" or status < 200 else self._body(status, headers))

    def ended(self) -> bool:
        """Whether the server has ended the connection. Waits for the end or for more bytes."""
        return not self._stream.peek(1)

    def rest(self) -> bytes:
        """All bytes until the server ends the connection."""
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


class AsyncWire:
    """A connection for asyncio, for one request at a time. One thread can have hundreds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: Address) -> "AsyncWire":
        return cls(*await asyncio.open_connection(*address))

    async def exchange(self, request: bytes) -> Answer:
        """The response to the request. Raises EOFError or OSError when the connection ends within it."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, headers = parse_head(head[:-4].split(b"\r\n"))
        assert "transfer-encoding" not in headers
        return Answer(status, headers, await self._reader.readexactly(int(headers.get("content-length", 0))))

    @property
    def ended(self) -> bool:
        """Whether the server has closed the connection."""
        return self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()


def parse_head(lines: list[bytes]) -> tuple[int, dict[str, str]]:
    """The status and the headers of a response. Fails when a header occurs twice."""
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.decode("latin-1").partition(": ")
        assert name.lower() not in headers
        headers[name.lower()] = value
    return int(lines[0].split(b" ", 2)[1]), headers


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """A request in HTTP/1.1 with a Host, and a Content-Length when there is a body and no header gives its length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: tasks.example", *headers]
    if body and not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def call_until_refused(address: Address, statuses: list[int]) -> int:
    """Call /livez until no connection is accepted. Returns how many requests got no response: 0 or 1.

    Appends the status of each response. The connection is kept until a response has `Connection: close`.
    """
    with suppress(ConnectionRefusedError):
        while True:
            with Wire(address) as wire:
                is_last = False
                while not is_last:
                    try:
                        answer = wire.send(request("GET", "/livez")).answer()
                    except (EOFError, ConnectionError):
                        return 1
                    statuses.append(answer.status)
                    is_last = answer.headers.get("connection") == "close"
    return 0
