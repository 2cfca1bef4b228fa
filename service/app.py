"""The composition root: the route table, what every endpoint needs, start and stop."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from starlette.routing import Router as Lifespan
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.compression import compressed
from service.api.endpoint import AuthenticatedEndpoint, Dependencies, PublicEndpoint
from service.api.middleware import CrossOrigins, refusal_headers
from service.api.openapi import docs_page
from service.api.openapi.docs_page import docs, root
from service.api.openapi.document import document
from service.api.payloads import Response, encode, problem_response
from service.api.routing import Route, Router
from service.auth.authenticator import Authenticator
from service.db.database import Database
from service.db.failures import FailureLog
from service.edge.limits import Limits
from service.edge.state import EdgeState
from service.observability import health as probes
from service.observability.health import Health, health, livez
from service.observability.log import Output
from service.observability.metrics import Metrics, serve_metrics
from service.observability.request_log import RequestLog, add_database_time
from service.observability.server_timing import recording_start, with_server_timing
from service.observability.startup import log_start, log_stop
from service.settings import Settings
from service.shutdown import delayed_shutdown
from service.tasks import operations as tasks
from service.tasks.handlers import complete_task, create_task, delete_task, get_task, update_task
from service.tasks.list import list_tasks
from service.tasks.query import signing_keys


@cache
def openapi() -> Response:
    """Describe this API as an OpenAPI document.

    Client generators read it.
    """
    return Response(
        200, encode(document(ROUTES, tasks.OPERATIONS | probes.OPERATIONS | docs_page.OPERATIONS, tasks.PATH))
    )


ROUTES = [
    Route("GET", "/api/{user_id}/tasks", list_tasks, compressed=True),
    Route("POST", "/api/{user_id}/tasks", create_task),
    Route("GET", "/api/{user_id}/tasks/{id}", get_task),
    Route("PUT", "/api/{user_id}/tasks/{id}", update_task),
    Route("DELETE", "/api/{user_id}/tasks/{id}", delete_task),
    Route("PATCH", "/api/{user_id}/tasks/{id}/complete", complete_task),
    Route("GET", "/health", health, public=True, probe=True),
    Route("GET", "/livez", livez, public=True, probe=True),
    Route("GET", "/readyz", Health.readyz, public=True, probe=True),
    Route("GET", "/openapi.json", openapi, public=True),
    Route("GET", "/docs", docs, public=True),
    Route("GET", "/", root, public=True, documented=False),
]


def create_app(settings: Settings, output: Output) -> ASGIApp:
    """The application, which logs to `output`. Nothing is opened until its lifespan begins."""
    authenticator = Authenticator(settings)
    measured = settings.server_timing or settings.metrics_port or settings.log_level in ("debug", "info")
    database = Database(settings, add_database_time if measured else None)
    readiness = Health(settings, database, authenticator)
    failures = FailureLog(lambda: database.failure)
    metrics = Metrics(settings, authenticator, database, failures, output)
    probe_routes = [route for route in ROUTES if route.probe]
    unlogged = {route.handler.__name__ for route in probe_routes}
    log = RequestLog(settings.log_level, unlogged, output, metrics.count if settings.metrics_port else None)
    dependencies = Dependencies(settings, authenticator, database, log, failures, signing_keys(settings))

    limits = Limits(
        connections=settings.max_connections,
        total_body_bytes=max(settings.max_body_bytes_total, settings.max_body_bytes),
        idle_seconds=settings.keep_alive_timeout,
    )
    edge = EdgeState(limits, metrics.refused, [route.path for route in probe_routes], refusal_headers(settings))

    def endpoint(route: Route) -> ASGIApp:
        if route.public:
            handler = readiness.readyz if route.handler is Health.readyz else route.handler
            return PublicEndpoint(handler, dependencies, handler.__name__)
        handler = recording_start(route.handler) if settings.server_timing else route.handler
        vary = b"authorization, accept-encoding" if route.compressed else b"authorization"
        private: ASGIApp = AuthenticatedEndpoint(handler, dependencies, vary)
        if settings.server_timing:
            private = with_server_timing(private)
        return compressed(private) if route.compressed else private

    async def unmatched(scope: Scope, receive: Receive, send: Send) -> None:
        refuse = PublicEndpoint(lambda: problem_response(scope["problem"]), dependencies, "unrouted")
        await refuse(scope, receive, send)

    def announce_stop() -> None:
        readiness.stopping = edge.draining = True

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        watches: list[asyncio.Task[None]] = []
        started = time.monotonic()
        try:
            await authenticator.open()
            await database.open()
            log_start(settings, database)
            watches.append(asyncio.create_task(readiness.watch()))
            if settings.metrics_port:
                watches.append(asyncio.create_task(serve_metrics(metrics, settings)))
            gc.collect()
            gc.freeze()  # objects that live as long as the process are left out of every later collection
            # No request leaves a reference cycle (tests/test_garbage.py). But 50 requests in progress have more objects
            # than Python's 700 (2,000 since 3.13), so it would look for cycles every few requests: 2 % of a write.
            gc.set_threshold(10_000)
            with delayed_shutdown(announce_stop, settings.shutdown_delay):
                yield {"edge": edge}
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await authenticator.close()
            await database.close()
            log_stop(started)
            output.flush()

    routes = [(route, endpoint(route)) for route in ROUTES]
    start_and_stop = Lifespan(lifespan=lifespan).lifespan
    if settings.cors_origins:
        return CrossOrigins(Router(routes, unmatched, start_and_stop), settings)
    # No route takes OPTIONS, so every preflight is unmatched: the middleware refuses it, and logs the origin.
    return Router(routes, CrossOrigins(unmatched, settings), start_and_stop)
