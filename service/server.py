"""uvicorn, set up for this service: one process or several on one socket."""

import resource
import signal
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.app import create_app
from service.db.connection import ASYNCPG
from service.edge.protocol import UVICORN, Protocol
from service.observability.log import configure_logging
from service.settings import Settings


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, after which it returns.

    Raises SettingsError, and SystemExit when the address is taken or the application cannot start.
    """
    for package, written_for in (("uvicorn", UVICORN), ("asyncpg", ASYNCPG)):
        if (found := version(package)) != written_for:
            raise SystemExit(f"error: written for {package} {written_for}, and this is {found}")
    output = configure_logging(settings.log_level)
    allow_files(settings)
    config = configuration(settings)
    if settings.workers > 1:
        # what is wrong with the settings is better said once than by each worker, again and again
        create_app(settings, output)
        supervisor = Multiprocess(config, sockets=[config.bind_socket()])
        supervisor.run()
        if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
            raise SystemExit(STARTUP_FAILURE)
        return
    server = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the stop it asks for would count as a failure
    with suppress(KeyboardInterrupt):  # uvicorn raises what stopped it once more after its graceful stop
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def allow_files(settings: Settings) -> None:
    """Lets each process open as many files as MAX_CONNECTIONS may need, or as many as the system lets it ask for.

    Many systems begin with 1,024, past which callers would get no answer at all, and the pool no connection.
    """
    wanted = 2 * settings.max_connections + settings.pool_max_size + 100  # 2: those over the limit are told so
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def configuration(settings: Settings) -> uvicorn.Config:
    """uvicorn's configuration. Each process makes its own application."""
    return uvicorn.Config(
        partial(worker_app, settings),
        factory=True,
        interface="asgi3",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        backlog=2048,
        limit_concurrency=settings.max_connections,
        log_config=None,  # log.py writes the lines
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than balancers keep theirs, so that it is they who close
        timeout_graceful_shutdown=round(settings.shutdown_timeout) or 1,
    )


def worker_app(settings: Settings) -> ASGIApp:
    """The application of one process, which logs for itself."""
    return create_app(settings, configure_logging(settings.log_level))
