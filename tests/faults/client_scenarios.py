"""Faults of clients: those who send slowly, do not read, or vanish. The others must not feel it."""

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
"""Seconds after which a connection that was in use at every look is one that nobody gives back."""

NOISE = 0.01
"""Seconds: a p99 below this is the machine's own."""

ETHERNET = 1460
"""Bytes in a packet. With those of the loopback interface the kernel keeps megabytes for each connection."""

VANISH = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: close() sends a reset."""


MANY: LiteralString = """
    insert into tasks (user_id, title, description)
    select user_id, 'one of many', (select string_agg(md5(n || ' ' || m), '') from generate_series(1, 16) as m)
    from tasks, generate_series(1, 2000) as n
    where title = 'the first'
"""


class Pool(msgspec.Struct):
    """The part of /readyz that tells whether connections are in use."""

    open: int
    idle: int
    waiting: int


class Ready(msgspec.Struct):
    pool: Pool


async def slow_senders(environment: Environment) -> None:
    """250 connections that trickle their headers, and 250 their body"""
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
        # a byte that crosses the answer on its way resets the connection, and the answer is lost
        environment.require(answered > 0.9 * len(ends), f"of {len(ends)} slow {name} {answered} answered with 408")
    await compare(environment, load, began, began)
    await load.healed()


async def trickle(port: int, request: bytes) -> tuple[bytes, float]:
    """Sends a byte a second after `request`. Returns what came back until the server closed, and after how long."""
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
    """Compares the p99 of others since `began` with what it was before, and what it is afterwards."""
    ended = monotonic()
    await asyncio.sleep(QUIET)
    before, now, after = (
        load.p99(since, until)
        for since, until in ((quiet_until - QUIET, quiet_until), (began, ended), (ended, monotonic()))
    )
    environment.notes.append(f"p99 of others {before * 1000:.0f}, {now * 1000:.0f}, {after * 1000:.0f} ms")
    environment.require(
        now < 2 * max(before, after, NOISE), "the others' p99 is more than twice what it is without them"
    )


async def slow_readers(environment: Environment) -> None:
    """500 connections that ask for a list of 1.4 MB and do not read it"""
    await do_not_read(environment, 0.5)


async def slow_zstd_readers(environment: Environment) -> None:
    """the same, compressed by zstd"""
    await do_not_read(environment, 1.2, "Accept-Encoding: zstd")


async def do_not_read(environment: Environment, megabytes: float, *fields: str) -> None:
    """Hold the service to so many megabytes for each of the connections, and to serving others."""
    server, load = await environment.usual()
    await asyncio.sleep(QUIET)
    quiet_until, memory = monotonic(), load.service.memory()
    user = load.service.caller()
    await user.call("create_task", "POST", user.tasks, {"title": "the first"})
    await server.execute(MANY)
    with ExitStack() as crowd:
        for _ in range(CROWD):
            deaf = crowd.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET)
            deaf.connect(("127.0.0.1", load.service.port))
            deaf.send(user.request("GET", user.tasks, b"", *fields))
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # the first of their pages has been made, and the next must wait
        began = monotonic()
        await asyncio.sleep(QUIET)
        await at_rest(environment, load)
        grown = load.service.memory() - memory
    environment.notes.append(f"memory grew by {grown:.0f} MB")
    environment.require(grown < megabytes * CROWD, f"memory grows by more than {megabytes} MB for each")
    await compare(environment, load, quiet_until, began)


async def vanishing_clients(environment: Environment) -> None:
    """900 clients a second, for 3 s, who reset their connection in the middle of a call"""
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
    """Checks that there are moments in which no connection to the database is in use."""
    pool = Pool(0, -1, 0)
    give_up = monotonic() + REST
    while (pool.idle < pool.open or pool.waiting) and monotonic() < give_up:
        await asyncio.sleep(0.02)
        answer = await load.service.get("/readyz")
        if answer.succeeded:
            pool = msgspec.json.decode(answer.body, type=Ready).pool
    environment.notes.append(f"{pool.idle} of {pool.open} connections idle")
    environment.require(pool.idle == pool.open and not pool.waiting, "connections to the database are still in use")
