"""Functions on a transport and its socket: flow control, unread bytes, addresses, and a filter for new connections."""

import asyncio
import ctypes
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

Address = tuple[str, int]

SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h; the socket module lacks it
DROP_SYN = (
    (0x30, 0, 0, 13),  # load byte 13 of the TCP header, the flags
    (0x45, 0, 1, 0x02),  # skip one instruction unless SYN is set
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)
"""A classic BPF program: socket(7) and the Linux kernel's Documentation/networking/filter.rst."""


class FlowControl:
    """Pauses reading, and waits while writing is paused. Repeated calls have no further effect."""

    __slots__ = ("_paused_at", "_time", "_transport", "_writable", "read_paused", "read_paused_seconds", "write_paused")

    def __init__(self, transport: asyncio.Transport, time: Callable[[], float]) -> None:
        self.read_paused = False
        self.read_paused_seconds = 0.0
        """The total time for which reading was paused. The protocol resets it for each request."""
        self.write_paused = False
        self._transport = transport
        self._time = time
        self._paused_at = 0.0
        self._writable: asyncio.Event | None = None  # made by drain(); most connections never need it

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._paused_at = self._time()
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.read_paused_seconds += self._time() - self._paused_at
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Wait until writing is not paused, or until the connection is lost."""
        if self.write_paused:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()


def has_unread_bytes(transport: asyncio.Transport) -> bool:
    """Whether the kernel has bytes from the client that the event loop has not read yet."""
    descriptor = transport.get_extra_info("socket").fileno()
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
    return bool(count)


def ignore_connection_attempts(listening: socket.socket) -> None:
    """Make the kernel ignore new attempts to connect. Handshakes in progress are completed. Linux only.

    Without this, a client that connects just before the socket is closed gets a reset instead of a response. A client
    that is ignored tries again after a second (RFC 6298, section 2). It is then refused, or reaches another instance.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *instruction) for instruction in DROP_SYN))
    filter = struct.pack("@HP", len(DROP_SYN), ctypes.addressof(program))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter)


def remote_address(transport: asyncio.Transport) -> Address | None:
    """Return the client's address. None if the client has disconnected, or if the socket is not a TCP socket."""
    try:
        return _address(transport.get_extra_info("socket").getpeername())
    except OSError:
        return None


def local_address(transport: asyncio.Transport) -> Address | None:
    """Return the address that the client connected to. None if the socket is not a TCP socket."""
    return _address(transport.get_extra_info("socket").getsockname())


def _address(name: object) -> Address | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
