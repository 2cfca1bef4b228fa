"""One caller's connection: whose turn it is, how long the wait may be, and how it ends. Reading is protocol.py's."""

import asyncio
from collections import deque
from enum import Enum
from math import inf
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from service.api.problems import OVERLOADED, REQUEST_TIMEOUT, ProblemType
from service.edge.cycle import Cycle, last_answer
from service.edge.limits import Pace

HEAD_SECONDS = 5.0
"""From the first byte of a request to the end of its headers; a slower one is 408."""

BODY_SECONDS = 10.0
"""From the end of the headers to the end of the body; a slower one is 408."""

READER_SECONDS = 30.0
"""Who takes in nothing of an answer for so long is cut off."""

LINGER_SECONDS = 3.0
"""For a caller who has the last answer to close the connection too."""

refusals = Pace(rate=1000)
"""Answers of 503 a second in this process after which connections are read on at once. A refusal costs 60 us where a
create costs 95: callers who come again at once, 1,500 of them, left 9 % of the rate to those who are served."""

UNSENT_BYTES = 128 * 1024
"""What the kernel takes of an answer ahead of the reader. Unasked it takes 3 MB, which 500 slow readers make 1.5 GB."""


Stage = Enum("Stage", ["BETWEEN", "HEAD", "BODY", "NOTHING"])
"""What the caller's next byte belongs to."""
BETWEEN, HEAD, BODY, NOTHING = Stage  # which are found faster than members are


class Conversation(asyncio.Protocol):
    """A connection on which each request is answered in its turn. uvicorn makes one for each, and calls shutdown()."""

    transport: asyncio.Transport
    flow: FlowControl

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.app: Any = config.loaded_app
        self.app_state = app_state
        self.server_state = server_state
        self.connections: set[Any] = server_state.connections
        self.limit = config.limit_concurrency or inf
        self.idle_seconds = config.timeout_keep_alive
        self.cycle: Any = None  # the last request that was read
        self.active: Cycle | None = None  # the one that is being answered
        self.pipeline: deque[Cycle] = deque()  # those read after it
        self.stage = BETWEEN
        self.since = self.loop.time()  # when the stage began
        self.refused: ProblemType | None = None
        self.ended = False
        self.unsent = 0
        self.reader_deadline = inf

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.flow = FlowControl(transport)
        self.connections.add(self)
        transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.watch = self.loop.call_later(HEAD_SECONDS, self.check_deadlines)
        if len(self.connections) > 2 * self.limit:
            transport.abort()  # to answer any number of callers would be no limit
        elif len(self.connections) > self.limit:
            self.refuse(OVERLOADED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        self.connections.discard(self)
        if self.active:
            self.active.leave()
        self.cycle = self.active = None  # which refer to us: else all would stay until the next collection of garbage
        self.pipeline.clear()
        self.flow.resume_writing()

    def shutdown(self) -> None:
        """Lets the connection end with the answers that are due."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def eof_received(self) -> Any:
        """Whether answers are due, which a caller who says no more may still hear."""
        self.ended = True
        if self.active is None or self.stage is BODY:
            return False
        self.cycle.keep_alive = False
        self.stage = NOTHING
        return True

    @property
    def deadline(self) -> float:
        """When what the caller must do next must be done, by the loop's clock."""
        if self.stage is HEAD:
            return self.since + HEAD_SECONDS
        if self.stage is BODY:
            return self.since + BODY_SECONDS
        if self.active:
            return inf
        return self.since + (LINGER_SECONDS if self.stage is NOTHING else self.idle_seconds)

    def check_deadlines(self) -> None:
        """Ends a connection past its deadline: one timer a connection, where uvicorn has one a request."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent != self.unsent:
            self.unsent = unsent
            self.reader_deadline = now + READER_SECONDS if unsent else inf
        sending = unsent > 0 and self.stage in (BETWEEN, NOTHING)
        late = now >= self.deadline and not sending and not self.flow.read_paused  # or it is us who are slow
        if late and self.stage in (HEAD, BODY) and not self.transport.is_closing():
            self.refuse(REQUEST_TIMEOUT)
        elif late or now >= self.reader_deadline:
            self.transport.abort()
            return
        self.check_later()

    def check_later(self) -> None:
        rest = min(self.deadline, self.reader_deadline) - self.loop.time()
        self.watch.cancel()
        self.watch = self.loop.call_later(rest if 0 < rest < HEAD_SECONDS else HEAD_SECONDS, self.check_deadlines)

    def take(self, cycle: Cycle) -> None:
        """Lets the application answer a request as soon as those before it are answered."""
        before, self.cycle = self.cycle, cycle
        if before is None or before.response_complete:
            self.start(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.append(cycle)

    def start(self, cycle: Cycle) -> None:
        self.active = cycle
        cycle.task = self.loop.create_task(cycle.run(self.app))
        self.server_state.tasks.add(cycle.task)

    def answered(self, cycle: Cycle) -> None:
        """Goes on to the next request, or waits for one, or closes the connection."""
        self.active = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self.part(None)
        elif self.pipeline:
            self.start(self.pipeline.popleft())
            self.since = self.loop.time()  # what was paused could not arrive
        elif self.refused:
            self.part(self.refused)
        else:
            if self.stage is BETWEEN or self.flow.read_paused:
                self.since = self.loop.time()
            if cycle.unavailable and (rest := refusals.take(self.loop.time())) > 0:
                self.flow.pause_reading()
                self.loop.call_later(rest, self.read_on)
            else:
                self.flow.resume_reading()

    def read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def refuse(self, kind: ProblemType) -> None:
        """Answers what is arriving with a refusal, after the answers that are due before it, and closes."""
        arriving, self.stage = self.stage is BODY, NOTHING
        if arriving:
            self.cycle.refuse(kind)
        else:
            self.refused = kind
        if self.active is None:
            self.part(self.refused)

    def part(self, refused: ProblemType | None) -> None:
        """Closes the connection, with a refusal as the last answer if there is one.

        Not without hearing the caller out: what is left unread would reset it, and the answer might be lost
        (RFC 9112, section 9.6).
        """
        self.stage = NOTHING
        if refused:
            self.app_state["refused"][refused.status] += 1  # no endpoint will, nor the log
            self.transport.write(last_answer(refused, self.server_state.default_headers))
        if self.ended:
            self.transport.close()
        else:
            self.transport.write_eof()
            self.flow.resume_reading()
        self.since = self.loop.time()
        self.check_later()
