"""Ports of 127.0.0.1."""

import random
import socket
from contextlib import suppress

OWN_PORTS = range(10_000, 32_000)
"""Linux takes none of these for outgoing connections, or for servers on port 0, before a test's server has them."""


def free_port(number: int = 1) -> int:
    """A port that nothing listens on; the first of `number` such ports in a row."""
    while True:
        first = random.choice(OWN_PORTS)
        with suppress(OSError):
            for port in range(first, first + number):
                socket.create_server(("127.0.0.1", port)).close()
            return first


def listens(port: int) -> bool:
    """Whether connections to the port are accepted."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
