"""An event loop for asyncpg that tries the addresses of a host name side by side."""

import asyncio
import socket
from typing import Any

from aiohappyeyeballs import start_connection

ATTEMPT_DELAY = 0.25
"""Seconds until the next address of a host name is tried beside the one before: RFC 8305, section 8."""


class HappyEyeballsLoop:
    """An event loop that connects to the first address of a host name that answers (RFC 8305).

    uvloop tries one after the other, each for as long as the system does: with a silent first address, a connection
    would never be made within CONNECT_TIMEOUT (MagicStack/uvloop issue 406).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transports: list[asyncio.Transport] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        addresses = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = await start_connection(addresses, happy_eyeballs_delay=ATTEMPT_DELAY)
        if options.get("ssl"):  # sslnegotiation=direct
            options["server_hostname"] = host
        try:
            made: Any = await self._loop.create_connection(factory, sock=connected, **options)
        except BaseException:
            connected.close()
            raise
        self._transports = [each for each in (*self._transports, made[0]) if not each.is_closing()]
        return made

    def abort(self) -> None:
        """Close every transport without sending anything to the server."""
        for transport in self._transports:
            transport.abort()
