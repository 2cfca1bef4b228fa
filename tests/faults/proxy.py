"""A network that fails: a TCP proxy in front of a server, which delays, holds, refuses, forgets, or loses an answer."""

import asyncio
import random
from contextlib import suppress

CHUNK = 65536


class Link:
    """One connection. A `deaf` one passes nothing on, ever again; of a `mute` one the answers are lost."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.deaf = False
        self.mute = False

    def cut(self) -> None:
        """Ends both halves with a reset."""
        for half in (self.client, self.server):
            if half:
                half.transport.abort()


class Proxy:
    """Passes what comes in on `port` of 127.0.0.1 to the port `target` of it, and back."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.delay = 0.0
        """Seconds that each piece takes, give or take a half."""
        self.losing = b""
        """The answers to what holds these bytes are lost, and with `cutting` the connection too."""
        self.cutting = False
        self._target = target
        self._links: set[Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        """Takes connections (again)."""
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Resets all connections, and refuses new ones until accept()."""
        if self._listener:
            self._listener.close()
        for link in self._links:
            link.cut()

    def hold(self) -> None:
        """Passes nothing on until release(), as when packets are dropped, and sent again later."""
        self._flowing.clear()

    def release(self) -> None:
        """Ends hold()."""
        self._flowing.set()

    def forget(self) -> None:
        """Leaves all connections half-open: the server loses them, and the clients never hear of it."""
        for link in self._links:
            link.deaf = True
            if link.server:
                link.server.transport.abort()

    async def close(self) -> None:
        """Ends all of it."""
        self.release()
        self.refuse()
        await asyncio.gather(*self._tasks)

    def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, Link(client)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, requests: asyncio.StreamReader, link: Link) -> None:
        self._links.add(link)
        with suppress(OSError):
            await self._flowing.wait()
            answers, link.server = await asyncio.open_connection("127.0.0.1", self._target)
            back = asyncio.create_task(self._pass(answers, link.client, link, back=True))
            await self._pass(requests, link.server, link, back=False)
            await back
        link.cut()
        self._links.discard(link)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: Link, back: bool) -> None:
        with suppress(OSError):
            while piece := await source.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay * random.uniform(0.5, 1.5))
                await self._flowing.wait()
                if self.losing and self.losing in piece:
                    link.mute = True
                if link.deaf or (link.mute and back and not self.cutting):
                    continue
                if sink.transport.is_closing() or (link.mute and back):
                    break
                sink.write(piece)
                await sink.drain()
        if not (link.deaf and back):
            link.cut()
