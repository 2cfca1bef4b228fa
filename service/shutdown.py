"""The first phase of the graceful stop: after SIGTERM the service continues to serve, and reports that it will stop."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def delayed_shutdown(announce: Callable[[], None], delay: float) -> Iterator[None]:
    """Delay SIGTERM: within the block it calls `announce` at once, and the server's handler `delay` seconds later.

    The server's handler closes the listening socket, and a load balancer needs the delay to stop sending requests.
    SIGINT is not delayed. A second SIGTERM has no further effect: systemd sends one to every process, and the parent of
    several workers sends another. Outside the main thread, which receives no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        announce()
        if callable(server_handler):
            loop.call_soon_threadsafe(loop.call_later, delay, server_handler, number, None)

    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, server_handler)
