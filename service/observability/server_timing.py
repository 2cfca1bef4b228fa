"""The Server-Timing header, which browsers show in their developer tools (W3C Server Timing).

app.py applies both wrappers only if SERVER_TIMING is set. Otherwise no request runs code of this module.
"""

from contextvars import ContextVar
from functools import wraps
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.endpoint import Handler, Request
from service.api.payloads import Response
from service.observability.request_log import Timing, current_timing

_handler_started: ContextVar[float] = ContextVar("handler_started")


def recording_start(handler: Handler) -> Handler:
    """Wrap a handler to record its start, at which authentication is complete."""

    @wraps(handler)
    async def recording(request: Request) -> Response:
        _handler_started.set(perf_counter())
        return await handler(request)

    return recording


def with_server_timing(app: ASGIApp) -> ASGIApp:
    """Wrap `app` to add Server-Timing to its responses. Its handlers must be wrapped by `recording_start`.

    The members are `auth`, the time until the handler starts or the request is refused; `wait`, the wait for a
    connection; and `db`, the wait for database responses.
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
