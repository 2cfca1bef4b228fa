"""Calls from pages of other origins (CORS)."""

import logging
import re
from collections.abc import Callable

from starlette import datastructures
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.payloads import problem_response
from service.api.problems import (
    METHOD_NOT_FOR_PAGES,
    ORIGIN_NOT_ALLOWED,
    PRIVATE_NETWORK_NOT_ALLOWED,
    Headers,
    Problem,
)
from service.settings import ORIGIN, Settings

logger = logging.getLogger(__name__)

RawHeaders = list[tuple[bytes, bytes]]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EXPOSED_HEADERS = ("ETag", "Idempotent-Replayed", "Link", "Location", "Retry-After", "Server-Timing", "X-Request-ID")
PREFLIGHT_SECONDS = 86_400

LOGGED_ORIGINS = 100
"""Refused origins that are logged, each once. The Origin header is the client's, so their number is bounded."""

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class CrossOrigins(CORSMiddleware):
    """Starlette's CORS middleware. Its refusals are problem documents, and a refused origin is logged once."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        origins = [_as_sent(origin.strip()) for origin in settings.cors_origins.split(",") if origin]
        any_port = "|".join(re.escape(origin[:-2]) for origin in origins if origin.endswith(":*"))
        super().__init__(
            app,
            allow_origins=[origin for origin in origins if not origin.endswith(":*")],
            allow_origin_regex=f"(?:{any_port})(?::[0-9]{{1,5}})?" if any_port else None,
            allow_methods=METHODS,
            allow_headers=("*",),  # tracing libraries add traceparent, baggage, sentry-trace and others
            expose_headers=EXPOSED_HEADERS,
            allow_credentials=settings.cors_origins != "*",  # some clients always send cookies; none is ever read
            allow_private_network=settings.cors_private_network,
            max_age=PREFLIGHT_SECONDS,
        )
        self._timing = settings.server_timing
        self._logged: set[str] = set()

    def preflight_response(self, request_headers: datastructures.Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            problem = Problem(ORIGIN_NOT_ALLOWED)
            self._log(origin)
        elif request_headers["access-control-request-method"] not in METHODS:
            problem = Problem(METHOD_NOT_FOR_PAGES)
        else:
            problem = Problem(PRIVATE_NETWORK_NOT_ALLOWED)
        refusal = problem_response(problem)
        return Response(refusal.body, refusal.status, {"Vary": "Origin"}, "application/problem+json")

    def _log(self, origin: str) -> None:
        is_origin = origin == "null" or ORIGIN(origin)  # anything else is not from a browser
        if is_origin and origin not in self._logged and len(self._logged) < LOGGED_ORIGINS:
            self._logged.add(origin)
            logger.warning("CORS_ORIGINS does not list %s: pages of this origin cannot call the service", origin)

    async def send(self, message: Message, send: Send, request_headers: datastructures.Headers) -> None:
        if self._timing and message["type"] == "http.response.start":
            origin = request_headers.get("origin")
            if origin and self.is_allowed_origin(origin):  # else the page cannot read Server-Timing
                message["headers"].append((b"timing-allow-origin", origin.encode("latin-1")))
        await super().send(message, send, request_headers)

    def refusal_headers(self, headers: RawHeaders) -> Headers:
        """The headers that this middleware would add to the response to a request with `headers`."""
        origin = next((value.decode("latin-1") for name, value in headers if name == b"origin"), None)
        if origin is None:
            return ()
        added = MutableHeaders(self.simple_headers)
        if self.is_allowed_origin(origin) and not self.allow_all_origins:
            self.allow_explicit_origin(added, origin)
        return tuple(added.raw)


def _as_sent(origin: str) -> str:
    """An origin of CORS_ORIGINS as browsers send it: without a final slash and without the scheme's default port."""
    origin = origin.rstrip("/")
    return origin.removesuffix(DEFAULT_PORTS.get(origin.partition(":")[0], "/"))


def refusal_headers(settings: Settings) -> Callable[[RawHeaders], Headers]:
    """The CORS headers of a response that does not pass through CrossOrigins, by the headers of the request."""

    async def unused(scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    return CrossOrigins(unused, settings).refusal_headers if settings.cors_origins else lambda _: ()
