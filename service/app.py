"""The composition root: the one route table, what every endpoint works with, start and stop."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from service.api.endpoint import AuthenticatedEndpoint, Dependencies, PublicEndpoint
from service.api.middleware import across_origins, compressed
from service.api.openapi.document import Documents
from service.api.payloads import problem_response
from service.api.problems import METHOD_NOT_ALLOWED, NOT_FOUND, Problem
from service.api.routing import FlatRoutes, Row, starlette_routes
from service.auth.authenticator import Authenticator
from service.db.database import Database
from service.db.failures import FailureLog
from service.edge.limits import Limits
from service.edge.state import EdgeState
from service.observability.health import Health
from service.observability.log import Output
from service.observability.metrics import Metrics, serve_metrics
from service.observability.request_log import RequestLog
from service.observability.server_timing import TimedDatabase, TimedEndpoint
from service.settings import Settings
from service.shutdown import delayed_shutdown
from service.tasks.handlers import complete_task, create_task, delete_task, get_task, update_task
from service.tasks.list import list_tasks
from service.tasks.query import Cursors

PRIVATE = [
    ("GET", "/api/{user_id}/tasks", list_tasks),
    ("POST", "/api/{user_id}/tasks", create_task),
    ("GET", "/api/{user_id}/tasks/{task_id}", get_task),
    ("PUT", "/api/{user_id}/tasks/{task_id}", update_task),
    ("DELETE", "/api/{user_id}/tasks/{task_id}", delete_task),
    ("PATCH", "/api/{user_id}/tasks/{task_id}/complete", complete_task),
]

PUBLIC = ("/health", "/livez", "/readyz", "/openapi.json", "/docs")


def create_app(settings: Settings, output: Output) -> ASGIApp:
    """The application, which logs to `output`. Nothing is opened until its lifespan begins."""
    authenticator = Authenticator(settings)
    database = TimedDatabase(settings) if settings.server_timing else Database(settings)
    private = TimedEndpoint if settings.server_timing else AuthenticatedEndpoint
    health = Health(settings, database)
    failures = FailureLog()
    metrics = Metrics(authenticator, database, failures, output)
    log = RequestLog(settings.log_level, output, metrics.count if settings.metrics_port else None)
    service = Dependencies(settings, authenticator, database, log, failures, Cursors(settings))
    documents = Documents(PRIVATE, list(PUBLIC))
    responders = (health.health, health.livez, health.readyz, documents.openapi, documents.docs)
    table: list[Row] = []
    for method, path, handler in PRIVATE:
        endpoint = private(handler, service)
        table.append((method, path, compressed(endpoint) if handler is list_tasks else endpoint))
    for path, respond in zip(PUBLIC, responders, strict=True):
        table.append(("GET", path, PublicEndpoint(respond, service, name=path[1:])))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        watches: list[asyncio.Task[None]] = []
        try:
            await authenticator.open()
            await database.open()
            watches.append(asyncio.create_task(health.watch()))
            if settings.metrics_port:
                watches.append(asyncio.create_task(serve_metrics(metrics, settings)))
            gc.collect()
            gc.freeze()  # what lives as long as the process need not be walked by every collection
            with delayed_shutdown(health, settings.shutdown_delay):
                yield {"edge": EdgeState(Limits(connections=settings.max_connections), metrics.refused)}
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await authenticator.close()
            await database.close()
            output.flush()

    async def unrouted(_: Any, error: Any) -> Any:
        kind = METHOD_NOT_ALLOWED if error.status_code == 405 else NOT_FOUND
        allow = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
        return PublicEndpoint(lambda: problem_response(Problem(kind, headers=allow)), service, name="unrouted")

    starlette = Starlette(
        routes=starlette_routes(table), lifespan=lifespan, exception_handlers={HTTPException: unrouted}
    )
    starlette.router.redirect_slashes = False  # it would answer with the caller's own Host header
    app = FlatRoutes(table, starlette)
    return across_origins(app, settings) if settings.cors_origins else app
