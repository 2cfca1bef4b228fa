"""Faults of the network between the service and its database."""

import asyncio
from time import monotonic

from tests.faults.environment import Environment
from tests.serving import UNKNOWN


async def black_hole(environment: Environment) -> None:
    """the network forwards nothing in either direction for 5 s"""
    _, proxy, load = await environment.behind_proxy(POOL_MIN_SIZE="20")
    proxy.freeze()
    await asyncio.sleep(5)
    proxy.thaw()
    await load.healed()


async def half_open(environment: Environment) -> None:
    """the server loses every connection and restarts; the service is not notified"""
    server, proxy, load = await environment.behind_proxy(POOL_MIN_SIZE="20")
    proxy.freeze()
    proxy.forget()
    await server.stop()
    await server.start()
    await asyncio.sleep(2)
    proxy.thaw()
    await load.healed()


async def refused(environment: Environment) -> None:
    """every connection reset, new ones refused, for 3 s: the 503 responses are fast"""
    _, proxy, load = await environment.behind_proxy()
    proxy.down()
    refused_at = monotonic()
    await asyncio.sleep(3)
    slow = load.p99(refused_at, monotonic())
    environment.notes.append(f"p99 of a refusal {slow * 1000:.0f} ms")
    environment.require(slow < 0.05, "refusals take longer than 50 ms")
    await proxy.up()
    await load.healed()


async def slow_network(environment: Environment) -> None:
    """50 ms each way for 3 s, then 500 ms for 3 s"""
    _, proxy, load = await environment.behind_proxy()
    proxy.delay = 0.05
    await asyncio.sleep(3)
    environment.require(all(answer.succeeded for answer in load.answers), "calls fail at 50 ms each way")
    proxy.delay = 0.5
    slowed_at = monotonic()
    await asyncio.sleep(3)
    late = [answer.succeeded for answer in load.answers if answer.began > slowed_at]
    environment.notes.append(f"at 500 ms {late.count(False) / len(late):.0%} refused")
    proxy.delay = 0
    await load.healed()


async def answer_lost(environment: Environment) -> None:
    """the response to a commit is lost, with its connection and without"""
    server, proxy, load = await environment.behind_proxy()
    writer = load.service.caller()
    await writer.call("create_task", "POST", writer.tasks, {"title": "for the user's own row"})
    for title, proxy.cutting in (("connection lost", True), ("answer lost", False)):
        proxy.losing = title.encode()
        answer = await writer.call("create_task", "POST", writer.tasks, {"title": title})
        proxy.losing = b""
        unknown = answer.problem is not None and answer.problem.type == UNKNOWN
        environment.require(answer.status == 503 and unknown, f"{title}: answered {answer.status}")
        ((rows,),) = await server.execute("select count(*) from tasks where title = %s", title)
        environment.require(rows == 1, f"{title}: {rows} tasks made")
    await load.healed()
