"""The server: uvicorn's, in one process or in several that share one listening socket."""

import resource
import signal
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.app import create_app
from service.edge import uvicorn_interface
from service.edge.protocol import HTTPProtocol
from service.observability.log import configure_logging
from service.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SettingsError, and SystemExit when the address is in use or the application cannot start.
    """
    try:
        uvicorn_interface.probe()
    except uvicorn_interface.IncompatibleUvicorn as error:
        raise SystemExit(f"error: {error}") from None
    output = configure_logging(settings.log_level)
    allow_files(settings)
    config = configuration(settings)
    if settings.workers > 1:
        # A wrong setting is reported once here, not by each worker at each of its starts.
        create_app(settings, output)
        supervisor = Multiprocess(config, sockets=[config.bind_socket()])
        supervisor.run()
        if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
            raise SystemExit(STARTUP_FAILURE)
        return
    server = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the process would end with a failure status
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after its graceful stop
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def allow_files(settings: Settings) -> None:
    """Raise the limit of open files to what MAX_CONNECTIONS needs, or to the hard limit.

    Many systems start a process with 1,024. Past the limit no connection is accepted, and the pool cannot connect.
    """
    wanted = (
        2 * settings.max_connections + settings.pool_max_size + 100
    )  # 2: the edge answers connections past the limit too
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def configuration(settings: Settings) -> uvicorn.Config:
    """uvicorn's configuration. Each process creates its own application."""
    return uvicorn.Config(
        partial(worker_app, settings),
        factory=True,
        interface="asgi3",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=HTTPProtocol,
        ws="none",
        lifespan="on",
        backlog=2048,
        log_config=None,  # observability/log.py formats the records
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.shutdown_timeout) or 1,
    )


def worker_app(settings: Settings) -> ASGIApp:
    """The application of one process, with its own log output."""
    return create_app(settings, configure_logging(settings.log_level))
