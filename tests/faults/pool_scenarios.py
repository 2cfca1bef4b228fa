"""No free connections, overload, locks."""

import asyncio
import random
from itertools import chain
from time import monotonic
from uuid import uuid4

import msgspec

from tests.faults.client import Caller, TimedAnswer, p99
from tests.faults.crowd import Crowd
from tests.faults.environment import Environment
from tests.faults.load import Created
from tests.faults.service_process import ServiceProcess

CLIENTS = 500

CROWD = 50
"""Users: enough to keep 10 connections busy, and few enough that no request is refused while each has one request."""

OVERLOAD = 3
"""The offered rate as a multiple of the peak rate."""

PEAK_SECONDS = 4
OVERLOAD_SECONDS = 8


async def pool_exhaustion(environment: Environment) -> None:
    """the table of tasks locked for 5 s, and 500 clients: requests beyond MAX_WAITING are refused at once"""
    server, load = await environment.usual(MAX_WAITING="20")
    user = uuid4()
    callers = [load.service.caller(user) for _ in range(CLIENTS)]
    await callers[0].call("create_task", "POST", callers[0].tasks, {"title": "for the user's own row"})
    until = monotonic() + 5
    async with server.locked("access exclusive"):
        calls = [asyncio.create_task(insist(caller, until)) for caller in callers]
        alive = await probe(load.service, until)
    await asyncio.gather(*calls)
    await load.healed()
    check_refusals(environment, [answer for caller in callers for answer in caller.answers], alive)


async def insist(caller: Caller, until: float) -> None:
    """Call again a second after each response, as Retry-After says."""
    await asyncio.sleep(random.uniform(0, 1))
    while monotonic() < until:
        if random.random() < 0.5:
            await caller.call("list_tasks", "GET", caller.tasks)
        else:
            await caller.call("create_task", "POST", caller.tasks, {"title": "one of many"})
        await asyncio.sleep(random.uniform(0.8, 1.2))


async def probe(service: ServiceProcess, until: float) -> list[TimedAnswer]:
    """The responses of /livez, called every 20 ms until then."""
    caller = service.caller()
    while monotonic() < until:
        await caller.call("livez", "GET", "/livez")
        await asyncio.sleep(0.02)
    return caller.answers


def check_refusals(environment: Environment, answers: list[TimedAnswer], alive: list[TimedAnswer]) -> None:
    """Check how fast requests beyond MAX_WAITING were refused, and how fast /livez was."""
    shed = [answer for answer in answers if answer.problem and "Too many" in answer.problem.detail]
    environment.require(len(shed) > 100, "hardly any request was refused")
    for name, some in (("a refusal", shed), ("/livez", alive)):
        slow = p99(some)
        environment.notes.append(f"p99 of {name} {slow * 1000:.0f} ms")
        environment.require(slow < 0.02, f"p99 of {name} is over 20 ms")


async def overload(environment: Environment) -> None:
    """10 connections to a server with commits of 20 ms, and three times the rate that it can serve"""
    server = await environment.server()
    await server.execute("alter role task_app set commit_delay = 20000")
    await server.execute(
        "alter role task_app set commit_siblings = 0"
    )  # by default, a commit is delayed only while five other transactions are open
    service = await environment.serve(server.url(), POOL_MIN_SIZE="10", POOL_MAX_SIZE="10", MAX_WAITING="50")
    crowd = Crowd(service, CROWD)
    answers = await crowd.saturate(1)  # creates the rows in users
    began = monotonic()
    full = await crowd.saturate(PEAK_SECONDS)
    peak = served(full, began, PEAK_SECONDS)
    began = monotonic()
    probing = asyncio.create_task(probe(service, began + OVERLOAD_SECONDS))
    offered = await crowd.offer(OVERLOAD * peak, round(OVERLOAD * peak * OVERLOAD_SECONDS))
    rate = served(offered, began, OVERLOAD_SECONDS)
    refused = sum(not answer.succeeded for answer in offered)
    environment.notes.append(
        f"peak {peak:.0f}/s, offered {OVERLOAD * peak:.0f}/s, served {rate:.0f}/s ({rate / peak:.0%})"
    )
    environment.notes.append(f"{refused} of {len(offered)} refused")
    environment.require(rate >= 0.9 * peak, "less than 90 % of the peak is served")
    check_refusals(environment, offered, await probing)
    acknowledged = sum(answer.succeeded for answer in chain(answers, full, offered))
    ((rows,),) = await server.execute("select count(*) from tasks")
    environment.require(rows == acknowledged, f"{rows} tasks exist, and {acknowledged} were acknowledged")


def served(answers: list[TimedAnswer], since: float, seconds: float) -> float:
    """Successful calls per second in that time."""
    return sum(answer.succeeded and since <= answer.ended < since + seconds for answer in answers) / seconds


async def connection_limit(environment: Environment) -> None:
    """the service's role may have 2 connections, then none"""
    server, load = await environment.usual()
    await server.execute("alter role task_app connection limit 2")
    await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'task_app'")
    await asyncio.sleep(1.5)
    limited_at = monotonic()
    await asyncio.sleep(1)
    few = [answer.succeeded for answer in load.answers if answer.began > limited_at]
    environment.require(all(few), f"with two connections {few.count(False)} of {len(few)} calls fail")
    await server.execute("alter role task_app connection limit 0")
    await server.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'task_app'")
    await asyncio.sleep(2)
    environment.require((await load.service.get("/readyz")).status == 503, "/readyz says ready without a connection")
    await server.execute("alter role task_app connection limit -1")
    await load.healed()
    environment.require((await load.service.get("/readyz")).status == 200, "/readyz does not say ready again")


async def row_lock(environment: Environment) -> None:
    """a row locked by another session, and lock_timeout 500 ms for the service's role"""
    server = await environment.server()
    await server.execute("alter role task_app set lock_timeout = '500ms'")
    load = await environment.start_load(server.url())
    writer = load.service.caller()
    created = await writer.call("create_task", "POST", writer.tasks, {"title": "locked"})
    task = msgspec.json.decode(created.body, type=Created).id
    async with await server.session() as blocker, blocker.transaction():
        await blocker.execute("select from tasks where id = %s for update", (task,))
        answer = await writer.call("update_task", "PUT", f"{writer.tasks}/{task}", {"title": "changed"})
    environment.notes.append(f"refused after {answer.seconds * 1000:.0f} ms")
    environment.require(answer.status == 503 and answer.seconds < 0.6, "no refusal within 600 ms")
    environment.require(all(answer.succeeded for answer in load.answers), "calls of other users failed")
    await load.healed()
