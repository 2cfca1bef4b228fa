"""Faults that starve the service of connections, or hold what its statements need."""

import asyncio
import random
from time import monotonic
from uuid import uuid4

import msgspec

from faults.client import Caller
from faults.load import Created
from faults.stage import Stage

CLIENTS = 500


async def pool_exhaustion(stage: Stage) -> None:
    """the table of tasks locked for 5 s, and 500 clients: who finds too many waiting is refused at once"""
    server, load = await stage.usual(MAX_WAITING="20")
    user = uuid4()
    callers = [load.service.caller(user) for _ in range(CLIENTS)]
    await callers[0].call("create_task", "POST", callers[0].tasks, {"title": "for the user's own row"})
    until = monotonic() + 5
    async with await server.session() as blocker, blocker.transaction():
        await blocker.execute("lock table tasks")
        calls = [asyncio.create_task(insist(caller, until)) for caller in callers]
        alive = load.service.caller()
        while monotonic() < until:
            await alive.call("livez", "GET", "/livez")
            await asyncio.sleep(0.02)
    await asyncio.gather(*calls)
    await load.healed()
    refusals = [(answer.problem, answer.seconds) for caller in callers for answer in caller.answers]
    shed = sorted(seconds for problem, seconds in refusals if problem and "Too many" in problem.detail)
    stage.require(len(shed) > 100, "hardly anybody was refused")
    for name, times in (("a refusal", shed), ("/livez", sorted(answer.seconds for answer in alive.answers))):
        p99 = times[len(times) * 99 // 100]
        stage.notes.append(f"p99 of {name} {p99 * 1000:.0f} ms")
        stage.require(p99 < 0.02, f"p99 of {name} is over 20 ms")


async def insist(caller: Caller, until: float) -> None:
    """Calls, and again a second after each answer, as Retry-After asks of those who are refused."""
    await asyncio.sleep(random.uniform(0, 1))
    while monotonic() < until:
        if random.random() < 0.5:
            await caller.call("list_tasks", "GET", caller.tasks)
        else:
            await caller.call("create_task", "POST", caller.tasks, {"title": "one of many"})
        await asyncio.sleep(random.uniform(0.8, 1.2))


async def connection_limit(stage: Stage) -> None:
    """no more connections than 2 for the service's role, then none"""
    server, load = await stage.usual()
    await server.execute("alter role task_app connection limit 2")
    await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'task_app'")
    await asyncio.sleep(1.5)
    limited_at = monotonic()
    await asyncio.sleep(1)
    few = [answer.succeeded for answer in load.answers if answer.began > limited_at]
    stage.require(all(few), f"with two connections {few.count(False)} of {len(few)} calls fail")
    await server.execute("alter role task_app connection limit 0")
    await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'task_app'")
    await asyncio.sleep(2)
    stage.require((await load.service.get("/readyz")).status == 503, "/readyz says ready without a connection")
    await server.execute("alter role task_app connection limit -1")
    await load.healed()
    stage.require((await load.service.get("/readyz")).status == 200, "/readyz does not say ready again")


async def row_lock(stage: Stage) -> None:
    """a row locked by another session, and lock_timeout 500 ms for the service's role"""
    server = await stage.server()
    await server.execute("alter role task_app set lock_timeout = '500ms'")
    load = await stage.start_load(server.url())
    writer = load.service.caller()
    created = await writer.call("create_task", "POST", writer.tasks, {"title": "locked"})
    task = msgspec.json.decode(created.body, type=Created).id
    async with await server.session() as blocker, blocker.transaction():
        await blocker.execute("select from tasks where id = %s for update", (task,))
        answer = await writer.call("update_task", "PUT", f"{writer.tasks}/{task}", {"title": "changed"})
    stage.notes.append(f"refused after {answer.seconds * 1000:.0f} ms")
    stage.require(answer.status == 503 and answer.seconds < 0.6, "no refusal within 600 ms")
    stage.require(all(answer.succeeded for answer in load.answers), "others had to wait too")
    await load.healed()
