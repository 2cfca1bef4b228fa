"""The router: one dictionary look-up by method and number of path segments, then a comparison of the fixed segments.

Starlette's router tries each route's regular expression in turn. `python -m bench.routing` prints what both cost, and
tests/api/test_routing.py compares their answers. The rules are Starlette's: a path parameter is one segment that is not
empty, HEAD is GET, a known path with another method is 405, and nothing is redirected.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.problems import METHOD_NOT_ALLOWED, NOT_FOUND, Problem


class Route(msgspec.Struct, frozen=True):
    """A row of the route table.

    `public`: the handler needs no token. `probe`: a load balancer calls it every second; it is answered past
    MAX_CONNECTIONS too, and is logged at `debug` only. `compressed`: long responses may be compressed. `documented`: it
    is in the OpenAPI document.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    public: bool = False
    probe: bool = False
    compressed: bool = False
    documented: bool = True


class Router:
    """Routes requests to endpoints, and the server's start and stop to `lifespan`.

    A request that no route matches goes to `unmatched`, its problem in the scope.
    """

    def __init__(self, routes: Iterable[tuple[Route, ASGIApp]], unmatched: ASGIApp, lifespan: ASGIApp) -> None:
        self._paths: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        for route, endpoint in routes:
            for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
                path = Path(route.path, endpoint)
                self._paths[method, path.length].append(path)
        self._unmatched = unmatched
        self._lifespan = lifespan

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._lifespan(scope, receive, send)
        segments = scope["path"].split("/")
        for path in self._paths.get((scope["method"], len(segments)), ()):
            if path.matches(segments):
                scope["path_values"] = path.values(segments)
                return path.endpoint(scope, receive, send)
        scope["problem"] = self._problem(segments)
        return self._unmatched(scope, receive, send)

    def _problem(self, segments: list[str]) -> Problem:
        """404: unknown path. 405: known path, method not allowed."""
        allowed = sorted(
            method
            for (method, length), paths in self._paths.items()
            if length == len(segments) and any(path.matches(segments) for path in paths)
        )
        if not allowed:
            return Problem(NOT_FOUND)
        return Problem(METHOD_NOT_ALLOWED, headers=((b"allow", ", ".join(allowed).encode()),))


class Path:
    """A path template by its segments: `/api/{user_id}/tasks` has three fixed segments, the first of them empty.

    `values` returns those of a path's segments that are not fixed, in their order.
    """

    def __init__(self, template: str, endpoint: ASGIApp) -> None:
        segments = template.split("/")
        fixed = [index for index, segment in enumerate(segments) if not segment.startswith("{")]
        self.endpoint = endpoint
        self.length = len(segments)
        indexes = [index for index in range(len(segments)) if index not in fixed]
        self.values = _getter(indexes)
        self._get_fixed = itemgetter(*fixed)
        self._fixed = self._get_fixed(segments)
        self._empty = segments.count("")

    def matches(self, segments: Sequence[str]) -> bool:
        # Counting the empty segments refuses an empty parameter. It costs less than checking each parameter.
        return bool(self._get_fixed(segments) == self._fixed) and segments.count("") == self._empty


def _getter(indexes: Sequence[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Returns the items at `indexes`. itemgetter returns a sequence for two or more only, or for a slice."""
    if len(indexes) > 1:
        return itemgetter(*indexes)
    first = indexes[0] if indexes else 0
    return itemgetter(slice(first, first + len(indexes)))
