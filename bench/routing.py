"""Prints the processor time of this service's router and of Starlette's: `python -m bench.routing`."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router as StarletteRouter
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.problems import METHOD_NOT_ALLOWED, NOT_FOUND, Problem
from service.api.routing import Route, Router
from service.app import ROUTES

REQUESTS = 20_000
ROUNDS = 5

USER = "7a5c0000-0000-4000-8000-000000000001"
TASK = "0195d1f0-6c7a-7000-8000-000000000002"


def starlette_router(routes: Iterable[tuple[Route, ASGIApp]], unmatched: ASGIApp, lifespan: ASGIApp) -> ASGIApp:
    """Starlette's router for the same routes; tests/api/test_routing.py compares the responses of both."""
    paths: defaultdict[str, dict[str, ASGIApp]] = defaultdict(dict)
    for route, endpoint in routes:
        paths[route.path][route.method] = endpoint
    starlette = StarletteRouter(
        [StarletteRoute(path, ByMethod(endpoints), methods=list(endpoints)) for path, endpoints in paths.items()],
        redirect_slashes=False,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
            return
        scope["app"] = app  # so that the router raises its 404 and 405
        try:
            await starlette(scope, receive, send)
        except HTTPException as error:
            allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", "))).encode()
            allowed = ((b"allow", allow),)
            scope["problem"] = Problem(METHOD_NOT_ALLOWED, headers=allowed) if allow else Problem(NOT_FOUND)
            await unmatched(scope, receive, send)

    return app


class ByMethod:
    """The endpoints of one path: Starlette's 405 has the methods of one route only."""

    def __init__(self, endpoints: dict[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope["path_values"] = tuple(scope["path_params"].values())
        await self._endpoints[method](scope, receive, send)


async def nothing(*_: Any) -> Any:
    """An endpoint that does nothing, so that only the router is measured."""


async def microseconds(app: ASGIApp, route: Route) -> float:
    """The processor time of one request at `route`, in microseconds: the shortest of several rounds."""
    path = route.path.format(user_id=USER, id=TASK)
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REQUESTS):
            await app({"type": "http", "method": route.method, "path": path, "headers": []}, nothing, nothing)
        rounds.append((time.process_time() - started) / REQUESTS * 1e6)
    return min(rounds)


async def main() -> None:
    """Prints a line for each route."""
    table = [(route, nothing) for route in ROUTES]
    router, starlette = Router(table, nothing, nothing), starlette_router(table, nothing, nothing)
    print(f"{'operation':14} {'service, us':>12} {'Starlette, us':>14}")
    for route in ROUTES:
        print(
            f"{route.handler.__name__:14} {await microseconds(router, route):12.2f}"
            f" {await microseconds(starlette, route):14.2f}"
        )


if __name__ == "__main__":
    asyncio.run(main())
