"""What only browsers ask for, by kept libraries: calls from pages of other origins, and compressed lists."""

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette_compress import CompressMiddleware

from service.api.payloads import problem_response
from service.api.problems import NOT_FOR_THIS_PAGE, Problem
from service.settings import Settings

COMPRESSED_BYTES = 2048
"""A smaller list is sent as it is: it fits two packets, and compressing would take longer than sending."""

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
TAKEN = ["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"]
SHOWN = ["ETag", "Idempotent-Replayed", "Link", "Location", "Retry-After", "Server-Timing", "X-Request-ID"]
DAY = 86_400


class CrossOrigins(CORSMiddleware):
    """The library's, except that it refuses in plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refused = problem_response(Problem(NOT_FOR_THIS_PAGE))
        return Response(refused.body, refused.status, {"Vary": "Origin"}, "application/problem+json")


def across_origins(app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app` for pages of CORS_ORIGINS too. A preflight is answered here, and browsers remember it for a day."""
    return CrossOrigins(
        app,
        allow_origins=[origin.strip().rstrip("/") for origin in settings.cors_origins.split(",")],
        allow_methods=METHODS,
        allow_headers=TAKEN,
        expose_headers=SHOWN,
        allow_credentials=True,  # some clients send cookies along with everything; none is ever read
        max_age=DAY,
    )


def compressed(app: ASGIApp) -> ASGIApp:
    """`app`, its longer answers compressed for callers who accept that: zstd, br or gzip."""
    compressing = CompressMiddleware(app, minimum_size=COMPRESSED_BYTES)

    def either(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, _ in scope["headers"]:
            if name == b"accept-encoding":
                return compressing(scope, receive, send)
        return app(scope, receive, send)

    return either
