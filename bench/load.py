"""The load generator: a separate process that keeps N connections busy with requests formatted in advance."""

import gc
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import quantiles

import msgspec

SILENCE_SECONDS = 60
"""Without a response on any connection for this long, the load ends with an error."""


class Exchange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A whole request, and the status that is expected."""

    request: bytes
    status: bytes


class Order(msgspec.Struct, frozen=True):
    """What the load generator sends. With `once`, it sends each exchange at most once, and ends when all are sent."""

    port: int
    connections: int
    warmup: float
    seconds: float
    exchanges: list[Exchange]
    once: bool = False


class Load(msgspec.Struct, frozen=True):
    """The results. `cpu` is the load generator's processor time in seconds; latencies are in milliseconds."""

    answered: int
    unexpected: int
    seconds: float
    cpu: float
    p50: float
    p95: float
    p99: float


class Client:
    """One connection with at most one request in flight."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fileno = self._socket.fileno()
        self.sent = 0.0
        self._status = b""
        self._answer = b""
        self._missing = 0

    def send(self, exchange: Exchange) -> None:
        self._status = exchange.status
        self._answer = b""
        self.sent = time.perf_counter()
        self._socket.sendall(exchange.request)

    def receive(self) -> bool | None:
        """Whether the response has the expected status; None while it is incomplete."""
        piece = self._socket.recv(1 << 18)
        if not piece:
            raise SystemExit(f"the service closed a connection after {self._answer[:400]!r}")
        if self._answer:
            self._missing -= len(piece)
        else:
            self._answer = piece
            head = piece.index(b"\r\n\r\n") + 4
            length = piece.lower().find(b"\r\ncontent-length:", 0, head)
            body = int(piece[length + 17 : piece.index(b"\r", length + 17)]) if length > 0 else 0
            self._missing = head + body - len(piece)
        return None if self._missing else self._answer.startswith(self._status, 9)


def _drive(clients: list[Client], exchanges: Iterator[Exchange], seconds: float) -> tuple[list[float], int]:
    """Keep all connections busy for `seconds`. Returns the latencies, and how many responses were unexpected."""
    by_number = {client.fileno: client for client in clients}
    poll = select.epoll()
    busy = 0
    end = time.perf_counter() + seconds
    for client, exchange in zip(clients, exchanges, strict=False):
        poll.register(client.fileno, select.EPOLLIN)
        client.send(exchange)
        busy += 1
    latencies: list[float] = []
    unexpected = 0
    while busy:
        events = poll.poll(SILENCE_SECONDS)
        if not events:
            raise SystemExit(f"no answer for {SILENCE_SECONDS} s")
        for number, _ in events:
            client = by_number[number]
            expected = client.receive()
            if expected is None:
                continue
            now = time.perf_counter()
            latencies.append(now - client.sent)
            unexpected += not expected
            following = next(exchanges, None) if now < end else None
            if following is None:
                busy -= 1
            else:
                client.send(following)
    poll.close()
    return latencies, unexpected


def _carry_out(order: Order, caller: Connection) -> None:
    """Warm up, send None to the parent and wait for it; measure, send the Load, and wait with the connections open."""
    exchanges = iter(order.exchanges) if order.once else cycle(order.exchanges)
    clients = [Client(order.port) for _ in range(order.connections)]
    gc.disable()
    _drive(clients, exchanges, order.warmup)
    caller.send(None)
    caller.recv()
    cpu, clock = time.process_time(), time.perf_counter()
    latencies, unexpected = _drive(clients, exchanges, order.seconds)
    elapsed, cpu = time.perf_counter() - clock, time.process_time() - cpu
    caller.send(summary(latencies, unexpected, elapsed, cpu))
    caller.recv()


def summary(latencies: list[float], unexpected: int, seconds: float, cpu: float) -> Load:
    """The Load of responses with these latencies, in seconds."""
    cuts = [1000 * cut for cut in quantiles(latencies, n=100)]
    return Load(len(latencies), unexpected, seconds, cpu, cuts[49], cuts[94], cuts[98])


@contextmanager
def warm_load(order: Order) -> Iterator[Callable[[], Load]]:
    """Start a load, and warm up. Yields a function that runs the measured part; before and after, the load is idle."""
    context = get_context("fork")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_carry_out, args=(order, child_end), daemon=True)
    process.start()
    child_end.close()

    def measure() -> Load:
        parent_end.send(None)
        load: Load = parent_end.recv()
        return load

    try:
        parent_end.recv()
        yield measure
        parent_end.send(None)
    except EOFError:
        raise SystemExit("error: the load ended early") from None
    finally:
        process.join()
