"""The environment of one scenario: servers, a proxy, the service and load. All are stopped at the end."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.faults.load import Load
from tests.faults.postgres import Server
from tests.faults.service_process import ServiceProcess
from tests.proxy import TCPProxy

QUIET_SECONDS = 0.5
"""Time under load before the fault."""


class Skipped(Exception):
    """The scenario cannot run on this machine. The message says why."""


class Environment:
    """Starts the parts of a scenario. `reference` is the server that must have the acknowledged writes."""

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
        """Whether the scenario ends connections of clients."""
        self.ending = AsyncExitStack()
        self._prepared = prepared

    def require(self, kept: bool, promise: str) -> None:
        """Record `promise` as broken unless it was kept."""
        if not kept:
            self.broken.append(promise)

    async def server(self, folder: Path | None = None) -> Server:
        """A new server with empty tables."""
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
        """A proxy in front of `server`."""
        proxy = TCPProxy(server.port)
        self.ending.push_async_callback(proxy.close)
        await proxy.up()
        return proxy

    async def serve(self, url: str, **settings: str) -> ServiceProcess:
        """Start the service on the database at `url`."""
        service = ServiceProcess(self.folder / f"service-{len(self.services)}.log", DATABASE_URL=url, **settings)
        self.services.append(service)
        self.ending.push_async_callback(service.close)
        await service.start()
        return service

    async def start_load(self, url: str, **settings: str) -> Load:
        """Start the service on the database at `url`, and load; returns after QUIET_SECONDS."""
        self.load = Load(await self.serve(url, **settings))
        await self.load.start()
        await asyncio.sleep(QUIET_SECONDS)
        return self.load

    async def usual(self, **settings: str) -> tuple[Server, Load]:
        """A server, and load on its service."""
        server = await self.server()
        return server, await self.start_load(server.url(), **settings)

    async def behind_proxy(self, **settings: str) -> tuple[Server, TCPProxy, Load]:
        """A server, a proxy in front of it, and load on the service that uses the proxy."""
        server = await self.server()
        proxy = await self.proxy(server)
        return server, proxy, await self.start_load(server.url(port=proxy.port), **settings)
