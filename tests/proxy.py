"""A TCP proxy that simulates a network that fails: it delays, holds, refuses or drops connections, or loses a response.

It also counts the round trips and statements of PostgreSQL's protocol (manual, chapter 54).
"""

import asyncio
import random
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from math import inf
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from service.db.url import for_psycopg
from tests.jwks_server import self_signed
from tests.serving import blocked_loop, until

T = TypeVar("T")

CHUNK = 65536

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""A server answers S when it supports TLS, else N (PostgreSQL manual, 54.7)."""


def tls_context() -> ssl.SSLContext:
    """The TLS context of a server with a self-signed certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with NamedTemporaryFile() as file:
        file.write(self_signed())
        file.flush()
        context.load_cert_chain(file.name)
    return context


class Messages:
    """Counts the Execute messages of one client: there is one for each statement."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._has_type = False  # the first message has no type byte, nor has the one after SSLRequest

    def executes(self, data: bytes) -> int:
        """The number of Execute messages whose last byte is in `data`."""
        self._unread += data
        count = 0
        while True:
            begin = 1 if self._has_type else 0
            end = begin + int.from_bytes(self._unread[begin : begin + 4])
            if len(self._unread) < max(end, begin + 4):
                return count
            count += self._has_type and self._unread[:1] == b"E"
            self._has_type = self._unread[:end] != SSL_REQUEST
            del self._unread[: max(end, 1)]


class Link:
    """One connection through the proxy. A `deaf` one forwards nothing; a `mute` one loses the server's answers."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.messages = Messages()
        self.deaf = False
        self.mute = False
        self.awaits_answer = False

    def abort(self) -> None:
        """Reset both halves."""
        for half in (self.client, self.server):
            if half:
                half.transport.abort()


class TCPProxy:
    """Forwards connections at `port` of 127.0.0.1 to `target`: a port of 127.0.0.1, or the path of a Unix socket.

    With `tls`, clients must use TLS. The connections to the target have no TLS.
    """

    def __init__(self, target: int | str, tls: bool = False) -> None:
        self.port = 0
        self.round_trips = 0
        """How often a client has sent data after an answer of the server."""
        self.statements = 0
        self.received: bytearray | None = None
        """The data that clients have sent since a test set this to an empty bytearray."""
        self.delay = 0.0
        """The mean delay of each piece, in seconds; the delay varies by up to a half."""
        self.rate = inf
        """The bandwidth for all answers of the server together, in bytes a second."""
        self.losing = b""
        """Answers to a piece that contains these bytes are lost. With `cutting`, the connection is closed too."""
        self.cutting = False
        self.refuses_tls = False
        self._target = target
        self._free_at = 0.0  # when the answers so far are sent, at `rate`
        self._tls = tls_context() if tls else None
        self._links: set[Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def up(self) -> None:
        """Accept connections, on the same port as before."""
        self._listener = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def down(self) -> None:
        """Reset all connections, and refuse new ones until up()."""
        if self._listener:
            self._listener.close()
        for link in self._links:
            link.abort()

    def freeze(self) -> None:
        """Forward nothing until thaw(), as when packets are lost and sent again later."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Forward the data that was held back, and all later data."""
        self._flowing.set()

    def deafen(self) -> None:
        """Forward no more data on the connections that are open now. Both ends stay open."""
        for link in self._links:
            link.deaf = True

    def forget(self) -> None:
        """Make all connections half-open: the server closes them, and the clients are not notified."""
        for link in self._links:
            link.deaf = True
            if link.server:
                link.server.transport.abort()

    async def close(self) -> None:
        """End the proxy and its connections."""
        self.thaw()
        self.down()
        await asyncio.gather(*self._tasks)

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open."""
        return not self._tasks

    def _on_connection(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, Link(client)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, requests: asyncio.StreamReader, link: Link) -> None:
        self._links.add(link)
        with suppress(OSError):
            await self._flowing.wait()
            if self.refuses_tls:
                self._count(link, await requests.read(len(SSL_REQUEST)))
                link.client.write(b"N")
            elif self._tls:
                if await requests.read(len(SSL_REQUEST)) != SSL_REQUEST:
                    raise ConnectionRefusedError
                link.client.write(b"S")
                await link.client.start_tls(self._tls)
            if isinstance(self._target, str):
                answers, link.server = await asyncio.open_unix_connection(self._target)
            else:
                answers, link.server = await asyncio.open_connection("127.0.0.1", self._target)
            if self._listener and self._listener.is_serving():
                back = asyncio.create_task(self._pass(answers, link.client, link, back=True))
                await self._pass(requests, link.server, link, back=False)
                await back
        link.abort()
        self._links.discard(link)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link, back: bool) -> None:
        with suppress(OSError):
            while piece := await source.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay * random.uniform(0.5, 1.5))
                await self._flowing.wait()
                if back:
                    link.awaits_answer = False
                    await self._through(len(piece))
                else:
                    self._count(link, piece)
                if link.deaf or (link.mute and back and not self.cutting):
                    continue
                if sink.transport.is_closing() or (link.mute and back):
                    break
                sink.write(piece)
                await sink.drain()
        if not (link.deaf and back):
            link.abort()

    async def _through(self, size: int) -> None:
        """Wait until `size` more bytes are sent at `rate`."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self.rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    def _count(self, link: Link, piece: bytes) -> None:
        if self.received is not None:
            self.received += piece
        self.statements += link.messages.executes(piece)
        self.round_trips += not link.awaits_answer
        link.awaits_answer = True
        if self.losing and self.losing in piece:
            link.mute = True


class Proxy:
    """A TCPProxy in front of a database, with an event loop in its own thread. Clients connect to `url`."""

    def __init__(self, database_url: str, tls: bool = False) -> None:
        given = conninfo_to_dict(for_psycopg(database_url))
        host, port = str(given["host"]), int(given.get("port") or 5432)
        user, password = quote(str(given.get("user") or "")), quote(str(given.get("password") or ""), safe="")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._proxy = self._run(self._made(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else port, tls))
        self.up()
        self.port = self._proxy.port
        mode = "require" if tls else "disable"
        self.url = f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{given['dbname']}?sslmode={mode}"

    @property
    def round_trips(self) -> int:
        return self._proxy.round_trips

    @property
    def statements(self) -> int:
        return self._proxy.statements

    def record(self) -> bytearray:
        """A bytearray to which the data that clients send from now on is added."""
        self._proxy.received = bytearray()
        return self._proxy.received

    def up(self) -> None:
        self._run(self._proxy.up())

    def down(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.down)
        until(lambda: self._proxy.is_idle)

    def freeze(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.freeze)

    def thaw(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.thaw)

    def deafen(self) -> None:
        self._proxy.deafen()

    def refuse_tls(self) -> None:
        """Answer the request for TLS as a server without TLS does."""
        self._proxy.refuses_tls = True

    def lose_answers_to(self, data: bytes) -> None:
        """Lose the answers to a piece that contains `data`, and all later ones of its connection."""
        self._proxy.losing = data

    def blocked(self) -> AbstractContextManager[None]:
        """Block the proxy: it forwards nothing, not even the end of a connection."""
        return blocked_loop(self._loop)

    def close(self) -> None:
        self._run(self._proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _made(target: int | str, tls: bool) -> TCPProxy:
        return TCPProxy(target, tls)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@contextmanager
def proxied(database_url: str, tls: bool = False) -> Iterator[Proxy]:
    """A proxy in front of the database."""
    proxy = Proxy(database_url, tls)
    try:
        yield proxy
    finally:
        proxy.close()
