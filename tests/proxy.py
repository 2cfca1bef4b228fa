"""A network between the service and its database: it can be cut, frozen and deaf, and counts what passes."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from service.db.url import for_psycopg
from tests.serving import until

T = TypeVar("T")

ENCRYPT = (80877103).to_bytes(4)
"""SSLRequest, which a server without TLS answers with N: PostgreSQL manual, 54.7."""


class Link:
    """One connection through the proxy. One that is `deaf` passes nothing on, ever again."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.deaf = False
        self.asked = False
        """Whether the last to speak was the client."""

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Listens on a port of 127.0.0.1, the place of the database in `url`.

    `round_trips` counts how often a client spoke after its server did, `statements` the Execute messages of the
    extended protocol (PostgreSQL manual, 54.7).
    """

    def __init__(self, database_url: str) -> None:
        given = conninfo_to_dict(for_psycopg(database_url))
        self.target = (str(given["host"]), int(given.get("port") or 5432))
        user, password = quote(str(given.get("user") or "")), quote(str(given.get("password") or ""), safe="")
        self.port = 0
        self.round_trips = 0
        self.statements = 0
        self._links: set[Link] = set()
        self._serving = 0  # the links, and those that wait for the server
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.up()
        self.url = f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{given['dbname']}?sslmode=disable"

    def up(self) -> None:
        """Listens, on the same port as before."""
        self._listener = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._listener.sockets[0].getsockname()[1]

    def down(self) -> None:
        """Refuses connections, and resets those that are open."""
        self._run(self._cut())
        until(lambda: not self._serving)

    def freeze(self) -> None:
        """Takes connections, and passes nothing on until thaw()."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw(self) -> None:
        """Passes on all that was held back."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def deafen(self) -> None:
        """What is open now never hears anything again; new connections do."""
        for link in self._links:
            link.deaf = True

    def close(self) -> None:
        """Ends everything."""
        self.thaw()
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _cut(self) -> None:
        self._listener.close()
        await asyncio.sleep(0.01)  # until those that were accepted just now are served
        for link in self._links:
            link.abort()

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._serving += 1
        try:
            await self._link(from_client, client)
        finally:
            client.close()
            self._serving -= 1

    async def _link(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        host, port = self.target
        if host.startswith("/"):
            from_server, server = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            from_server, server = await asyncio.open_connection(host, port)
        link = Link(client, server)
        self._links.add(link)
        if not self._listener.is_serving():
            link.abort()
        try:
            await asyncio.gather(self._requests(link, from_client), self._answers(link, from_server))
        finally:
            server.close()
            self._links.discard(link)

    async def _requests(self, link: Link, source: asyncio.StreamReader) -> None:
        kind = b""  # the first message has none, nor has the one after a request for encryption
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length = await source.readexactly(4)
                body = await source.readexactly(int.from_bytes(length) - 4)
                await self._pass_on(link, link.server, kind + length + body)
                self.statements += kind == b"E"
                self.round_trips += not link.asked
                link.asked = True
                if body != ENCRYPT:
                    kind = await source.readexactly(1)
        link.server.close()

    async def _answers(self, link: Link, source: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._pass_on(link, link.client, data)
                link.asked = False
        link.client.close()

    async def _pass_on(self, link: Link, to: asyncio.StreamWriter, data: bytes) -> None:
        await self._flowing.wait()
        if not link.deaf:
            to.write(data)
            await to.drain()


@contextmanager
def proxied(database_url: str) -> Iterator[Proxy]:
    """A proxy in front of the database."""
    proxy = Proxy(database_url)
    try:
        yield proxy
    finally:
        proxy.close()
