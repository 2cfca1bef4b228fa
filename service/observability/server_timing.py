"""Server-Timing: a header that shows in a browser's developer tools where a response's time went (W3C Server Timing).

Both functions wrap what exists: without SERVER_TIMING, requests do not pass through this module.
"""

from contextvars import ContextVar
from functools import wraps
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.endpoint import Handler, Request
from service.api.payloads import Response
from service.observability.request_log import Timing, current_timing

_handler_started: ContextVar[float] = ContextVar("handler_started")


def noting_start(handler: Handler) -> Handler:
    """`handler`, which also notes when it starts: the user is known then."""

    @wraps(handler)
    async def noting(request: Request) -> Response:
        _handler_started.set(perf_counter())
        return await handler(request)

    return noting


def with_server_timing(app: ASGIApp) -> ASGIApp:
    """`app`, whose responses have Server-Timing. Its handler must be one of `noting_start`.

    auth: until the user was known, or until the refusal; wait: without a connection; db: with the database.
    """

    async def timed(scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        timing = Timing()
        current_timing.set(timing)
        _handler_started.set(0)

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                auth = (_handler_started.get() or perf_counter()) - started
                seconds = {"auth": auth, "wait": timing.wait, "db": timing.database}
                parts = [f"{name};dur={value * 1000:.3f}" for name, value in seconds.items()]
                message["headers"].append((b"server-timing", ", ".join(parts).encode()))
            await send(message)

        await app(scope, receive, send_timed)

    return timed
