"""Fairness: one user's load, heavy lists, refused and timed-out writes beside other users."""

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import LiteralString

import msgspec

from service.settings import ROOT
from tests.faults.client import Caller, TimedAnswer
from tests.faults.client_scenarios import NOISE
from tests.faults.environment import Environment
from tests.faults.load import Load
from tests.serving import UNKNOWN

GREEDY_CONNECTIONS = 25
SECONDS = 3.0

LONG_TASKS: LiteralString = """
    insert into tasks (user_id, title, description)
    select %s, 'a long one', repeat(md5(n::text), 31250)
    from generate_series(1, 150) as n
"""
SHORT_TASKS: LiteralString = """
    insert into tasks (user_id, title, description)
    select %s, 'a short one', repeat('x', 1000)
    from generate_series(1, %s)
"""

QUERIES = ("?q=zzzz", "?completed=true", "?sort=-updated_at", "?sort=created_at&limit=500", "")
"""Queries of lists whose cost may grow with the number of stored tasks."""

LINK = 30e6
"""Bytes a second between the service and its database."""

HEAVY_USERS = 60
HEAVY_TASKS = 400

ROUNDS = 12
WRITES = 10
"""The number of writes in each round. The lock of a round ends near the moment at which they time out."""


async def greedy_user(environment: Environment) -> None:
    """a user with 150 tasks of 1 MB and 5,000 short tasks lists them on 25 connections: other users stay fast"""
    server, load = await environment.usual()
    greedy = load.service.caller()
    await greedy.call("create_task", "POST", greedy.tasks, {"title": "for the user's own row"})
    ((user,),) = await server.execute("select user_id from tasks where title = %s", "for the user's own row")
    await server.execute(SHORT_TASKS, user, 5000)
    await server.execute(LONG_TASKS, user)
    for query in QUERIES:
        quiet_at = monotonic()
        await asyncio.sleep(SECONDS)
        async with greedy_client(load, greedy, query) as statuses:
            began = monotonic()
            await asyncio.sleep(SECONDS)
            ended = monotonic()
        await asyncio.sleep(0.5)
        quiet, attacked = load.p99(quiet_at, began), load.p99(began, ended)
        failed = sum(not answer.succeeded for answer in load.answers if began < answer.began < ended)
        name = query or "plain"
        environment.notes.append(
            f"{name}: p99 of others {quiet * 1000:.0f}, {attacked * 1000:.0f} ms, {dict(statuses)}"
        )
        environment.require(attacked < 3 * max(quiet, NOISE), f"{name}: the others' p99 is over 3 times the quiet one")
        environment.require(not failed, f"{name}: {failed} calls of others failed")


@asynccontextmanager
async def greedy_client(load: Load, greedy: Caller, query: str) -> AsyncIterator[Counter[str]]:
    """A process that lists the greedy user's tasks. After the block, the counter has the responses by status."""
    request = greedy.request("GET", greedy.tasks + query).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.greedy_client", str(load.service.port), str(GREEDY_CONNECTIONS)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    statuses: Counter[str] = Counter()
    assert process.stdin
    process.stdin.write(request)
    process.stdin.close()
    await asyncio.sleep(0.5)  # until it has started
    try:
        yield statuses
    finally:
        process.send_signal(signal.SIGTERM)
        printed, _ = await process.communicate()
    statuses.update(msgspec.json.decode(printed, type=dict[str, int]))


async def heavy_lists(environment: Environment) -> None:
    """60 users list 400 tasks each over a link of 30 MB/s beside other users: no call is refused"""
    server = await environment.server()
    proxy = await environment.proxy(server)
    proxy.rate = LINK
    url = server.url(port=proxy.port)
    load = await environment.start_load(url, ACQUIRE_TIMEOUT="1", STATEMENT_TIMEOUT="2")
    quiet_at = monotonic()
    await asyncio.sleep(SECONDS)
    users = [load.service.caller() for _ in range(HEAVY_USERS)]
    for user in users:
        await user.call("create_task", "POST", user.tasks, {"title": "for the user's own row"})
        user_id = user.tasks.split("/")[2]
        await server.execute(SHORT_TASKS, user_id, HEAVY_TASKS)
    began = monotonic()
    answers = await asyncio.gather(*(list_until(user, began + 2 * SECONDS) for user in users))
    first = [of_user[0].succeeded for of_user in answers]
    lists = [answer.succeeded for of_user in answers for answer in of_user[1:]]
    others = [answer.succeeded for answer in load.answers if answer.began > began]
    environment.notes.append(
        f"refused: {first.count(False)} of {len(first)} first lists, {lists.count(False)} of {len(lists)} later"
    )
    quiet, beside = load.p99(quiet_at, quiet_at + SECONDS), load.p99(began, began + 2 * SECONDS)
    environment.notes.append(f"{others.count(False)} of {len(others)} calls of others")
    environment.notes.append(f"p99 of others {quiet * 1000:.0f}, {beside * 1000:.0f} ms")
    environment.require(all(first), f"{first.count(False)} of {len(first)} first lists refused")
    environment.require(all(lists), f"{lists.count(False)} of {len(lists)} long lists refused after the first")
    environment.require(all(others), f"{others.count(False)} of {len(others)} calls of others failed")


async def list_until(user: Caller, until: float) -> list[TimedAnswer]:
    """List until then. Returns the answers."""
    answers = []
    while monotonic() < until:
        answers.append(await user.call("list_tasks", "GET", user.tasks))
    return answers


async def refused_writes(environment: Environment) -> None:
    """a read-only database, and 25 users whose writes are refused: reads stay fast"""
    server, load = await environment.usual()
    await asyncio.sleep(SECONDS)
    await server.execute("alter system set default_transaction_read_only = on")
    await server.execute("select pg_reload_conf()")
    read_only_at = monotonic()
    writers = [load.service.caller() for _ in range(GREEDY_CONNECTIONS)]
    answers = await asyncio.gather(*(write_until(writer, read_only_at + SECONDS) for writer in writers))
    ended = monotonic()
    await server.execute("alter system reset default_transaction_read_only")
    await server.execute("select pg_reload_conf()")
    gets = [answer for reader in load.readers for answer in reader.answers if answer.operation == "get_task"]
    quiet = median([answer for answer in gets if answer.began < read_only_at])
    beside = median([answer for answer in gets if read_only_at < answer.began < ended])
    refused = sum(map(len, answers))
    environment.notes.append(
        f"median get {quiet * 1000:.1f} ms, beside {refused} refused writes {beside * 1000:.1f} ms"
    )
    environment.require(beside < 3 * max(quiet, NOISE), "gets are slow beside refused writes")
    failed = sum(not answer.succeeded for answer in gets)
    environment.require(not failed, f"{failed} gets failed")
    await load.healed()


async def write_until(user: Caller, until: float) -> list[TimedAnswer]:
    """Write every tenth of a second until then. Returns the answers."""
    answers = []
    while monotonic() < until:
        answers.append(await user.call("create_task", "POST", user.tasks, {"title": "refused"}))
        await asyncio.sleep(0.1)
    return answers


def median(answers: list[TimedAnswer]) -> float:
    """The median of the durations, in seconds."""
    return sorted(answer.seconds for answer in answers)[len(answers) // 2]


async def timed_out_writes(environment: Environment) -> None:
    """120 writes wait for a lock until about their timeout: none is committed after its response"""
    server, proxy, load = await environment.behind_proxy(STATEMENT_TIMEOUT="0.5")
    proxy.delay = 0.01
    writers = [load.service.caller() for _ in range(WRITES)]
    for writer in writers:
        await writer.call("create_task", "POST", writer.tasks, {"title": "for the user's own row"})
    limit = load.service.settings.statement_timeout
    seen: dict[str, bool] = {}
    async with await server.session() as observer:

        async def write(writer: Caller, title: str) -> None:
            answer = await writer.call("create_task", "POST", writer.tasks, {"title": title})
            if answer.problem and answer.problem.type == UNKNOWN:
                seen[title] = await exists(title)

        async def exists(title: str) -> bool:
            return bool(await (await observer.execute("select from tasks where title = %s", (title,))).fetchall())

        for number in range(ROUNDS):
            async with server.locked("share row exclusive"):
                writes = asyncio.gather(*(write(writer, f"{number} of {writer.tasks}") for writer in writers))
                await asyncio.sleep(limit + random.uniform(-0.02, 0.08))
            await writes
        await asyncio.sleep(1)
        committed = [title for title in seen if await exists(title)]
    late = [title for title in committed if not seen[title]]
    environment.notes.append(
        f"{len(seen)} of {ROUNDS * WRITES} timed out, {len(committed)} committed, {len(late)} late"
    )
    environment.require(len(seen) > WRITES, "hardly any write timed out")
    environment.require(not late, f"{len(late)} writes were committed after their response")
    await load.healed()
