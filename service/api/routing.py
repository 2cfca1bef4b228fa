"""The route table read flat, in front of Starlette's router: the same answers for one dictionary look-up.

Starlette tries each route's regular expression in turn and copies the scope for the one that fits.
"""

from collections import defaultdict
from collections.abc import Awaitable, Iterable
from operator import itemgetter

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

Row = tuple[str, str, ASGIApp]
"""Method, path template, endpoint."""


class FlatRoutes:
    """Routes by method and number of segments. What fits none of them is Starlette's to answer."""

    def __init__(self, table: Iterable[Row], starlette: ASGIApp) -> None:
        self._starlette = starlette
        self._routes: defaultdict[tuple[str, int], list[FlatRoute]] = defaultdict(list)
        for method, path, endpoint in table:
            self._routes[method, path.count("/") + 1].append(FlatRoute(path, endpoint))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            segments = scope["path"].split("/")
            for route in self._routes.get((scope["method"], len(segments)), ()):
                if route.literals_in(segments) == route.literals and segments.count("") == 1:
                    scope["path_params"] = {name: segments[place] for place, name in route.parameters}
                    return route.endpoint(scope, receive, send)
        return self._starlette(scope, receive, send)


class FlatRoute:
    """A path by its segments: `/api/{user_id}/tasks` has two literals and a parameter."""

    def __init__(self, path: str, endpoint: ASGIApp) -> None:
        segments = path.split("/")  # the first is empty, and counts as a literal
        self.endpoint = endpoint
        self.parameters = [(place, text.strip("{}")) for place, text in enumerate(segments) if text.startswith("{")]
        self.literals = tuple(text for text in segments if not text.startswith("{"))
        self.literals_in = itemgetter(*(place for place, text in enumerate(segments) if not text.startswith("{")))


def starlette_routes(table: Iterable[Row]) -> list[Route]:
    """The same table for Starlette: one route a path, so that its 405 allows all of the path's methods."""
    paths: defaultdict[str, dict[str, ASGIApp]] = defaultdict(dict)
    for method, path, endpoint in table:
        paths[path][method] = endpoint
    return [Route(path, ByMethod(endpoints), methods=list(endpoints)) for path, endpoints in paths.items()]


class ByMethod:
    """One path's endpoints; HEAD is GET without its body, which the server leaves out."""

    def __init__(self, endpoints: dict[str, ASGIApp]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._endpoints[method](scope, receive, send)
