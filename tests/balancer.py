"""A small balancer, like nginx: it checks no health, keeps connections open, and sends no request twice."""

import asyncio
from collections import defaultdict, deque
from contextlib import suppress

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


class Balancer:
    """Listens on `port` of 127.0.0.1, and forwards requests to the instances on `ports` in turn."""

    def __init__(self, ports: list[int]) -> None:
        self.port = 0
        self._ports = deque(ports)
        self._idle: defaultdict[int, list[Streams]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen for clients."""
        self._listener = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for streams in self._idle.values():
            for _, writer in streams:
                writer.close()

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                _, request = await message(reader)
                writer.write(await self._forward(request))
        writer.close()

    async def _forward(self, request: bytes) -> bytes:
        """The response to a request: the instance's, or 502 when the connection that carried the request ended."""
        try:
            port, (reader, writer) = await self._connection()
            writer.write(request)
            closes, response = await message(reader)
        except (OSError, EOFError):
            return BAD_GATEWAY
        if closes:
            writer.close()
            return response.replace(b"\r\nconnection: close", b"", 1)
        self._idle[port].append((reader, writer))
        return response

    async def _connection(self) -> tuple[int, Streams]:
        """An idle connection to the next instance, or a new one. Raises OSError when no instance accepts it."""
        self._ports.rotate()
        for port in list(self._ports):
            while self._idle[port]:
                reader, writer = self._idle[port].pop()
                if not reader.at_eof() and not writer.is_closing():
                    return port, (reader, writer)
                writer.close()
            with suppress(OSError):  # nothing was sent yet: another instance may serve the request
                return port, await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionError("no instance accepts connections")


async def message(reader: asyncio.StreamReader) -> tuple[bool, bytes]:
    """Whether a request or response has `Connection: close`, and all its bytes. Its body needs a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    return b"connection: close" in lines, head + await reader.readexactly(length)
