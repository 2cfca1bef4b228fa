"""What a fault happens to: servers, a proxy, the service, load. All of it is gone when the fault is over."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.faults.load import Load
from tests.faults.postgres import Server
from tests.faults.service_process import ServiceProcess
from tests.proxy import TCPProxy

QUIET_SECONDS = 0.5
"""How long all is well before a fault."""


class Skipped(Exception):
    """The fault cannot be made here. The message says why."""


class Environment:
    """One fault's own. `reference` is the server that must have what was acknowledged."""

    def __init__(self, prepared: Path, folder: Path) -> None:
        self.folder = folder
        self.reference: Server | None = None
        self.services: list[ServiceProcess] = []
        self.load: Load | None = None
        self.notes: list[str] = []
        self.broken: list[str] = []
        self.expected_restarts = 0
        self.expects_loss = False
        self.hangs_up = False
        """Whether the fault itself ends connections of callers."""
        self.ending = AsyncExitStack()
        self._prepared = prepared

    def require(self, kept: bool, promise: str) -> None:
        """Notes a promise that is not kept."""
        if not kept:
            self.broken.append(promise)

    async def server(self, folder: Path | None = None) -> Server:
        """A new server, with tables and no task."""
        server = Server.copy(self._prepared, folder or self.folder / "server")
        self.ending.push_async_callback(server.close)
        await server.start()
        self.reference = self.reference or server
        return server

    async def standby(self, primary: Server, port: int = 0) -> Server:
        """A new server that follows `primary`; through the proxy on `port` if one is given."""
        server = await primary.standby(self.folder / "standby", port)
        self.ending.push_async_callback(server.close)
        await server.start()
        return server

    async def proxy(self, server: Server) -> TCPProxy:
        """A network in front of `server`."""
        proxy = TCPProxy(server.port)
        self.ending.push_async_callback(proxy.close)
        await proxy.up()
        return proxy

    async def serve(self, url: str, **settings: str) -> ServiceProcess:
        """The service, on the database at `url`."""
        service = ServiceProcess(self.folder / f"service-{len(self.services)}.log", DATABASE_URL=url, **settings)
        self.services.append(service)
        self.ending.push_async_callback(service.close)
        await service.start()
        return service

    async def start_load(self, url: str, **settings: str) -> Load:
        """Writers and readers of the service, on the database at `url`; all is well for a while."""
        self.load = Load(await self.serve(url, **settings))
        await self.load.start()
        await asyncio.sleep(QUIET_SECONDS)
        return self.load

    async def usual(self, **settings: str) -> tuple[Server, Load]:
        """A server, and load on the service in front of it."""
        server = await self.server()
        return server, await self.start_load(server.url(), **settings)

    async def behind_proxy(self, **settings: str) -> tuple[Server, TCPProxy, Load]:
        """A server, the network in front of it, and load on the service in front of that."""
        server = await self.server()
        proxy = await self.proxy(server)
        return server, proxy, await self.start_load(server.url(port=proxy.port), **settings)
