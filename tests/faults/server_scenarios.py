"""The PostgreSQL server: killed, stopped, frozen, or its disk full."""

import asyncio
import os
import secrets
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import LiteralString

from tests.faults.environment import Environment, Skipped
from tests.faults.postgres import BACKENDS

TERMINATE: LiteralString = f"select pg_terminate_backend(pid) from ({BACKENDS} order by random() limit 1) as chosen"
AT_REST: LiteralString = "select pid from pg_stat_activity where pid = %s and state = 'idle' and backend_xmin is null"
CANCEL: LiteralString = f"select pg_cancel_backend(pid) from ({BACKENDS} and state = 'active') as active"


async def backend_killed(environment: Environment) -> None:
    """kill -9 of one backend: PostgreSQL restarts all backends"""
    server, load = await environment.usual()
    os.kill((await server.backends())[-1], signal.SIGKILL)
    await asyncio.sleep(0.1)
    await server.accepting()
    await load.healed()


async def terminate_storm(environment: Environment) -> None:
    """20 backends a second terminated, for 5 s"""
    server, load = await environment.usual()
    async with await server.session() as session:
        for _ in range(100):
            await session.execute(TERMINATE)
            await asyncio.sleep(0.05)
    await load.healed()
    pairs = [pair for reader in load.readers for pair in pairwise(reader.answers)]
    failed_twice = sum(not (first.succeeded or second.succeeded) for first, second in pairs) / len(pairs)
    environment.notes.append(f"reads that failed twice: {failed_twice:.2%}")
    environment.require(failed_twice < 0.01, "reads fail although they are retried")


async def cancel_storm(environment: Environment) -> None:
    """every statement that waits for a lock is cancelled, for 3 s"""
    server, load = await environment.usual()
    before = set(await server.backends())
    cancelled = 0
    async with await server.session() as session, server.locked("share row exclusive"):  # blocks only writes
        for _ in range(30):
            await asyncio.sleep(0.1)
            cancelled += len(await (await session.execute(CANCEL)).fetchall())
    await load.healed()
    lost = len(before.difference(await server.backends()))
    environment.notes.append(f"{cancelled} statements cancelled")
    environment.require(cancelled > 30, "hardly any statement was cancelled")
    environment.require(not lost, f"{lost} connections were closed")


async def fast_restart(environment: Environment) -> None:
    """the server restarted by a fast shutdown"""
    server, load = await environment.usual()
    await server.stop()
    await asyncio.sleep(1)
    await server.start()
    await load.healed()


async def crash_restart(environment: Environment) -> None:
    """kill -9 of every process of the server, and a start"""
    server, load = await environment.usual()
    server.kill()
    await asyncio.sleep(1)
    await server.start()
    await load.healed()


async def frozen_server(environment: Environment) -> None:
    """every process of the server frozen for 5 s"""
    server, load = await environment.usual()
    server.freeze()
    for _ in range(5):
        await asyncio.sleep(1)
        alive = await load.service.get("/livez")
        environment.require(alive.succeeded and alive.seconds < 0.1, "/livez depends on the database")
    environment.require((await load.service.get("/readyz")).status == 503, "/readyz says ready")
    server.thaw()
    await load.healed()


async def frozen_backend(environment: Environment) -> None:
    """the most recently used backend frozen for 3 s: only the calls on its connection are slow"""
    server, load = await environment.usual()
    async with await server.session() as session:
        while True:  # until it is idle, without a lock that other backends need
            backend = (await server.backends())[-1]
            os.kill(backend, signal.SIGSTOP)
            if await (await session.execute(AT_REST, (backend,))).fetchall():
                break
            os.kill(backend, signal.SIGCONT)
    frozen_at = monotonic()
    await asyncio.sleep(3)
    os.kill(backend, signal.SIGCONT)
    await load.healed()
    slow = sum(answer.began > frozen_at - 1 and answer.seconds > 0.3 for answer in load.answers)
    environment.notes.append(f"{slow} slow answers")
    environment.require(slow <= 2, f"{slow} answers were slow")
    environment.require(backend not in await server.backends(), "its connection was kept")


async def full_disk(environment: Environment) -> None:
    """the server's disk full for 2 s: writes are refused, reads are not"""
    disk = environment.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=160m", "faults", disk], capture_output=True)
    if mounted.returncode:
        raise Skipped("it mounts a small disk, which only root may do")
    environment.ending.callback(lambda: subprocess.run(["/bin/umount", disk], check=True))
    server = await environment.server(disk / "server")
    load = await environment.start_load(server.url())
    writer = load.service.caller()
    fill(disk / "ballast")
    filled_at = monotonic()
    statuses = set()
    while monotonic() < filled_at + 2:
        body = {"title": "large", "description": secrets.token_hex(50_000)}
        statuses.add((await writer.call("create_task", "POST", writer.tasks, body)).status)
        await asyncio.sleep(0.02)
    (disk / "ballast").unlink()
    environment.require(503 in statuses, "the disk was not full")
    reads = [answer for reader in load.readers for answer in reader.answers if answer.began > filled_at]
    environment.require(all(answer.succeeded for answer in reads), "reads were refused")
    await load.healed()


def fill(ballast: Path) -> None:
    """Fill the disk."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            return
