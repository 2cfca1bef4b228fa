"""Runs uvicorn in one process, or in several processes that share the listening sockets."""

import errno
import logging
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from service.app import create_app
from service.auth.issuer_settings import accepts_any_audience, read_issuers
from service.edge import uvicorn_interface
from service.edge.protocol import HTTPProtocol
from service.observability.log import configure_logging
from service.settings import Settings
from service.supervisor import STARTUP_FAILURE, Supervisor

logger = logging.getLogger(__name__)

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for an address that this machine does not have, such as `::1` for `localhost` without IPv6."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SettingsError. Raises SystemExit if the address is in use or the application cannot start.
    """
    try:
        uvicorn_interface.probe()
    except uvicorn_interface.IncompatibleUvicorn as error:
        raise SystemExit(f"error: {error}") from None
    output = configure_logging(settings.log_level)
    create_app(settings, output)  # reports a bad setting before the sockets are bound, and once for all workers
    if accepts_any_audience(read_issuers(settings)):
        logger.warning(
            "neither JWT_ISSUER nor JWT_AUDIENCE is set: every token that the key set's issuer signs is accepted"
        )
    raise_open_files_limit(settings)
    sockets = bind(settings.host, settings.port)
    for sock in sockets:
        logger.info("listening on %s port %d", *sock.getsockname()[:2])
    if settings.workers == 1:
        run(settings, sockets)
        return
    if status := Supervisor(settings.workers, run, settings, sockets).run():
        raise SystemExit(status)


def run(
    settings: Settings,
    sockets: list[socket.socket],
    is_full_stop: Callable[[], bool] = lambda: True,
    on_started: Callable[[], None] = lambda: None,
) -> None:
    """Serve in this process until a signal. Raises SystemExit if the application cannot start.

    `is_full_stop`, called at the signal, returns whether the other processes with these sockets stop too.
    """
    server = uvicorn_interface.Server(configuration(settings), is_full_stop, on_started)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # otherwise the exit status would be a failure
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after its graceful stop
        server.run(sockets)
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind a socket to each address of `host`. `::` accepts IPv4 too. Raises SystemExit."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            # With PORT=0 the system chooses the port of the first address. Further addresses use the same port.
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bound(family, (address[0], chosen, *address[2:]), dual_stack=host == "::"))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
        if absent and not sockets:
            raise absent
    except OSError as error:
        remedy = f". Choose another port, such as PORT={port + 1}" if error.errno == errno.EADDRINUSE else ""
        raise SystemExit(f"error: cannot listen on {host} port {port}: {error.strerror}{remedy}") from None
    return sockets


def _bound(family: int, address: tuple[object, ...], *, dual_stack: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # asyncio and the operating systems have different defaults
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def raise_open_files_limit(settings: Settings) -> None:
    """Raise the limit of open files to the number that MAX_CONNECTIONS needs, or to the hard limit.

    The default on many systems is 1,024. At the limit, no connection is accepted and the pool cannot connect.
    """
    # Twice, because the edge also answers as many connections over the limit.
    wanted = 2 * settings.max_connections + settings.pool_max_size + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))


def configuration(settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration. Each process creates its own application."""
    return uvicorn.Config(
        partial(worker_app, settings),
        factory=True,
        interface="asgi3",
        host=settings.host,
        port=settings.port,
        workers=1,  # supervisor.py starts the processes
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
    """Create the application of one process with its own log output."""
    return create_app(settings, configure_logging(settings.log_level))
