"""Faulty clients: slow senders, clients that do not read, resets. Other clients must not be affected."""

import asyncio
import random
import socket
import struct
from contextlib import ExitStack, suppress
from time import monotonic
from typing import LiteralString

import msgspec

from tests.faults.environment import Environment
from tests.faults.load import Load

CROWD = 500
QUIET = 3.0

REST = 3.0
"""Seconds after which a connection that was always in use counts as leaked."""

NOISE = 0.01
"""Seconds. Differences between p99s below this are not caused by the service."""

ETHERNET = 1460
"""Bytes in a packet. With the loopback interface's larger packets the kernel buffers megabytes per connection."""

VANISH = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: close() sends a reset."""

MANY: LiteralString = """
    insert into tasks (user_id, title, description)
    select user_id, 'one of many', (select string_agg(md5(n || ' ' || m), '') from generate_series(1, 16) as m)
    from tasks, generate_series(1, 2000) as n
    where title = 'the first'
"""


class Pool(msgspec.Struct):
    """The part of /readyz that says whether connections are in use."""

    open: int
    idle: int
    waiting: int


class Ready(msgspec.Struct):
    pool: Pool


async def slow_senders(environment: Environment) -> None:
    """250 connections send their headers a byte a second, and 250 their body"""
    _, load = await environment.usual()
    await asyncio.sleep(QUIET)
    began = monotonic()
    user = load.service.caller()
    half = [b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", user.request("POST", user.tasks, bytes(100))[:-99]]
    closed = await asyncio.gather(*(trickle(load.service.port, half[n % 2]) for n in range(CROWD)))
    for name, limit, ends in (("headers", 5, closed[::2]), ("body", 10, closed[1::2])):
        seconds = max(seconds for _, seconds in ends)
        environment.notes.append(f"slow {name} closed after {seconds:.1f} s")
        environment.require(seconds < limit + 1.5, f"slow {name} not closed within {limit} s")
        answered = sum(answer.startswith(b"HTTP/1.1 408") for answer, _ in ends)
        # a byte sent before the response arrived resets the connection, and the response is lost
        environment.require(answered > 0.9 * len(ends), f"of {len(ends)} slow {name} {answered} answered with 408")
    await compare(environment, load, began, began)
    await load.healed()


async def trickle(port: int, request: bytes) -> tuple[bytes, float]:
    """Send `request`, then a byte a second. Returns the bytes until the server closed, and the seconds until then.

    Not AsyncWire: it must send while it waits for the response.
    """
    began = monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = asyncio.create_task(reader.read())
    while not answer.done() and monotonic() < began + 12:
        await asyncio.wait([answer], timeout=random.uniform(0.5, 1.5))
        if not writer.transport.is_closing():
            writer.write(b"a")
    seconds = monotonic() - began
    writer.transport.abort()
    with suppress(ConnectionResetError):
        return await answer, seconds
    return b"", seconds


async def compare(environment: Environment, load: Load, quiet_until: float, began: float) -> None:
    """Compare the p99 of the other clients since `began` with the p99 before and afterwards."""
    ended = monotonic()
    await asyncio.sleep(QUIET)
    before, now, after = (
        load.p99(since, until)
        for since, until in ((quiet_until - QUIET, quiet_until), (began, ended), (ended, monotonic()))
    )
    environment.notes.append(f"p99 of others {before * 1000:.0f}, {now * 1000:.0f}, {after * 1000:.0f} ms")
    environment.require(now < 2 * max(before, after, NOISE), "the other clients' p99 is more than twice the quiet one")


async def slow_readers(environment: Environment) -> None:
    """500 connections request a list of 1.4 MB and do not read it"""
    await do_not_read(environment, 0.5)


async def slow_zstd_readers(environment: Environment) -> None:
    """the same list, compressed by zstd"""
    await do_not_read(environment, 1.2, "Accept-Encoding: zstd")


async def do_not_read(environment: Environment, megabytes: float, *headers: str) -> None:
    """Check that the service uses at most `megabytes` for each connection, and serves other clients."""
    server, load = await environment.usual()
    await asyncio.sleep(QUIET)
    quiet_until, memory = monotonic(), load.service.memory()
    user = load.service.caller()
    await user.call("create_task", "POST", user.tasks, {"title": "the first"})
    await server.execute(MANY)
    with ExitStack() as crowd:
        for _ in range(CROWD):
            silent = crowd.enter_context(socket.socket())
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET)
            silent.connect(("127.0.0.1", load.service.port))
            silent.send(user.request("GET", user.tasks, b"", *headers))
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # the first page of each is encoded, and the next one waits for the client
        began = monotonic()
        await asyncio.sleep(QUIET)
        await at_rest(environment, load)
        grown = load.service.memory() - memory
    environment.notes.append(f"memory grew by {grown:.0f} MB")
    environment.require(grown < megabytes * CROWD, f"memory grows by more than {megabytes} MB for each")
    await compare(environment, load, quiet_until, began)


async def vanishing_clients(environment: Environment) -> None:
    """900 clients a second reset their connection during a call, for 3 s"""
    _, load = await environment.usual()
    user = load.service.caller()
    requests = [user.request("GET", user.tasks), user.request("POST", user.tasks, b'{"title": "gone"}')]
    for _ in range(300):
        for request in (*requests, requests[1][:-9]):
            vanishing = socket.create_connection(("127.0.0.1", load.service.port))
            vanishing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, VANISH)
            vanishing.send(request)
            asyncio.get_running_loop().call_later(random.uniform(0, 0.005), vanishing.close)
        await asyncio.sleep(0.01)
    await load.healed()
    await at_rest(environment, load)


async def at_rest(environment: Environment, load: Load) -> None:
    """Check that there is a moment at which no connection to the database is in use."""
    pool = Pool(0, -1, 0)
    give_up = monotonic() + REST
    while (pool.idle < pool.open or pool.waiting) and monotonic() < give_up:
        await asyncio.sleep(0.02)
        answer = await load.service.get("/readyz")
        if answer.succeeded:
            pool = msgspec.json.decode(answer.body, type=Ready).pool
    environment.notes.append(f"{pool.idle} of {pool.open} connections idle")
    environment.require(pool.idle == pool.open and not pool.waiting, "connections to the database are still in use")
