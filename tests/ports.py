"""Ports of 127.0.0.1."""

import socket
from contextlib import suppress


def free_port(number: int = 1) -> int:
    """A port that nothing listens on; the first of `number` such ports in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        with suppress(OSError, OverflowError):
            for next_port in range(port + 1, port + number):
                socket.create_server(("127.0.0.1", next_port)).close()
            return port


def listens(port: int) -> bool:
    """Whether connections to the port are accepted."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
