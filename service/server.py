"""uvicorn, set up for this service: one or more processes on one socket, and a graceful stop."""

import asyncio
import signal
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.app import create_app
from service.settings import Settings

BACKLOG = 2048
"""Connections that the kernel holds while the process is busy."""


class Server(uvicorn.Server):
    """A server that, told to stop by SIGTERM, says so in /readyz for `shutdown_delay` seconds before it refuses.

    A balancer needs that time to notice; uvicorn alone closes its listener at once. Ctrl-C does not wait.
    """

    def __init__(self, config: uvicorn.Config, shutdown_delay: float) -> None:
        super().__init__(config)
        self._shutdown_delay = shutdown_delay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        health = self.lifespan.state.get("health") if hasattr(self, "lifespan") else None
        if sig != signal.SIGTERM or health is None or health.stopping:
            super().handle_exit(sig, frame)
            return
        health.stopping = True
        asyncio.get_running_loop().call_later(self._shutdown_delay, super().handle_exit, sig, frame)


def configuration(settings: Settings, **more: Any) -> uvicorn.Config:
    """uvicorn's configuration; `more` overrides it."""
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "interface": "asgi3",
        "backlog": BACKLOG,
        "log_config": None,  # log.py
        "access_log": False,  # log.py
        "proxy_headers": False,
        "server_header": False,
        "timeout_keep_alive": 75,  # longer than balancers keep theirs, so that they close first
        "timeout_graceful_shutdown": int(settings.shutdown_timeout) or 1,
    }
    return uvicorn.Config(partial(create_app, settings), factory=True, **(options | more))


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises SystemExit when the address is taken or the application cannot start."""
    config = configuration(settings)
    server = Server(config, settings.shutdown_delay)
    if settings.workers == 1:
        with suppress(KeyboardInterrupt):  # uvicorn raises it once more after its graceful stop
            server.run()
    else:
        Multiprocess(config, target=server.run, sockets=[config.bind_socket()]).run()
    if not server.started and settings.workers == 1:
        raise SystemExit(3)
