"""Replication: the primary or the standby is lost."""

import asyncio
from time import monotonic
from typing import LiteralString

from tests.faults.environment import Environment
from tests.faults.load import Load
from tests.faults.postgres import Server

FOLLOWS: LiteralString = "select sync_state from pg_stat_replication where state = 'streaming'"
CANCEL: LiteralString = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"


async def pair(environment: Environment) -> tuple[Server, Server, Load]:
    """A primary, its synchronous standby, and load on the URL that names both."""
    primary = await environment.server()
    standby = await environment.standby(primary)
    await primary.execute("alter system set synchronous_standby_names = 'standby'")
    await primary.execute("select pg_reload_conf()")
    while await primary.execute(FOLLOWS) != [("sync",)]:
        await asyncio.sleep(0.02)
    return primary, standby, await environment.start_load(both(primary, standby))


def both(primary: Server, standby: Server) -> str:
    """The URL that names both hosts."""
    return primary.url().replace("/tasks", f",127.0.0.1:{standby.port}/tasks")


async def promote(environment: Environment, standby: Server, load: Load) -> None:
    """Promote the standby, and wait until the load reaches it."""
    await asyncio.sleep(1)
    await standby.execute("select pg_promote()")
    environment.reference = standby
    await load.healed()


async def failover_sync(environment: Environment) -> None:
    """the primary killed, its synchronous standby promoted a second later"""
    primary, standby, load = await pair(environment)
    primary.kill()
    await promote(environment, standby, load)


async def failover_async(environment: Environment) -> None:
    """the same with an asynchronous standby that lags: acknowledged writes are lost, and the checker must detect it"""
    primary = await environment.server()
    proxy = await environment.proxy(primary)
    standby = await environment.standby(primary, proxy.port)
    load = await environment.start_load(both(primary, standby))
    environment.expects_loss = True
    environment.notes.append("the loss is expected: the checker must detect it")
    proxy.freeze()
    await asyncio.sleep(1)
    primary.kill()
    await promote(environment, standby, load)


async def standby_gone(environment: Environment) -> None:
    """the synchronous standby stopped for 4 s, and each wait for it cancelled in the second half"""
    primary, standby, load = await pair(environment)
    await standby.stop()
    stopped_at = monotonic()
    await asyncio.sleep(2)
    cancelled = 0
    async with await primary.session() as session:
        for _ in range(20):
            await asyncio.sleep(0.1)
            cancelled += len(await (await session.execute(CANCEL)).fetchall())
    until = monotonic()
    acknowledged = sum(
        answer.succeeded and stopped_at < answer.began and answer.ended < until
        for writer in load.writers
        for answer in writer.answers
    )
    environment.notes.append(f"{cancelled} waits cancelled")
    environment.require(cancelled > 20, "hardly any wait was cancelled")
    environment.require(not acknowledged, f"{acknowledged} writes acknowledged without the standby")
    reads = [answer.succeeded for reader in load.readers for answer in reader.answers if answer.began > stopped_at]
    environment.require(
        all(reads), f"{reads.count(False)} of {len(reads)} reads refused, although reads need no standby"
    )
    await standby.start()
    await load.healed()


async def read_only(environment: Environment) -> None:
    """a read-only primary for 3 s: writes are refused, reads are not"""
    server, load = await environment.usual()
    await server.execute("alter system set default_transaction_read_only = on")
    await server.execute("select pg_reload_conf()")
    await asyncio.sleep(3)
    reads = [answer.succeeded for reader in load.readers for answer in reader.answers]
    environment.require(all(reads), f"{reads.count(False)} of {len(reads)} reads refused")
    await server.execute("alter system reset default_transaction_read_only")
    await server.execute("select pg_reload_conf()")
    await load.healed()
