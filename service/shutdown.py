"""The graceful stop: SIGTERM makes /readyz say so for a while before the server refuses connections."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from service.observability.health import Health


@contextmanager
def delayed_shutdown(health: Health, delay: float) -> Iterator[None]:
    """Within it, SIGTERM first makes readiness false, and reaches the server's own handler `delay` seconds later.

    A balancer needs that time to notice; uvicorn alone closes its listener at once. Ctrl-C does not wait. A second
    SIGTERM changes nothing: systemd sends one to every process, and with WORKERS the first process passes its own on.
    Does nothing outside the main thread, where signals never arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        health.stopping = True
        if callable(stop):
            loop.call_soon_threadsafe(loop.call_later, delay, stop, number, None)

    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop)
