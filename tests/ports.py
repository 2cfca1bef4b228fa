"""Ports of 127.0.0.1. Imports only the standard library: bench/ and load/ use it too."""

import random
import socket
from contextlib import suppress

OWN_PORTS = range(10_000, 32_000)
"""Linux assigns other ports (32768 and above) to outgoing connections and to servers on port 0."""


def free_port(number: int = 1) -> int:
    """A free port; with `number`, the first of that many consecutive free ports."""
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
