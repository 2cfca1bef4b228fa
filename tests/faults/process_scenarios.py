"""The service's processes and deployment: killed workers, stops, schema changes, migrations, bad addresses."""

import asyncio
import os
import signal
import sys
from time import monotonic
from typing import LiteralString

import msgspec
import psutil

from service.db.migrations import bundled
from service.settings import ROOT
from tests.faults.environment import Environment
from tests.faults.load import Created, Load
from tests.faults.postgres import Server
from tests.faults.service_process import ServiceProcess

SCHEMA_CHANGES: tuple[LiteralString, ...] = (
    "alter table tasks add column priority integer",
    "create index concurrently tasks_by_priority on tasks (user_id, priority)",
    "alter table tasks alter column description type varchar",  # changes the result type of the statements
    "alter table tasks alter column description type text",
    "drop index concurrently tasks_by_priority",
    "alter table tasks drop column priority",
)

LOG_SECONDS = 5.0
"""The service logs that the database cannot be reached only after its third attempt to connect."""

REPLACED = 6.0
"""Seconds. uvicorn checks twice a second, and waits 5 s for a worker that dies during the check."""


async def worker_killed(environment: Environment) -> None:
    """kill -9 of one of two workers: the other continues, and a new one starts"""
    server, load = await environment.usual(WORKERS="2")
    environment.expected_restarts = 1
    environment.hangs_up = True
    service = load.service
    worker = service.workers()[0]
    ports = [c.laddr.port for c in psutil.Process(worker).net_connections() if c.raddr and c.raddr.port == server.port]
    os.kill(worker, signal.SIGKILL)
    killed_at = monotonic()
    await load.healed()
    while len(service.workers()) < 2 or worker in service.workers():
        await asyncio.sleep(0.02)
    seconds = monotonic() - killed_at
    environment.notes.append(f"a new worker after {seconds:.1f} s")
    environment.require(seconds < REPLACED, f"no new worker within {REPLACED:.0f} s")
    await asyncio.sleep(1)
    left = await server.execute("select pid from pg_stat_activity where client_port = any(%s)", ports)
    environment.require(bool(ports) and not left, f"{len(left)} connections of the dead worker are left")


async def rolling_stop(environment: Environment) -> None:
    """SIGTERM under load: /readyz is 503 first, and pending requests are finished"""
    server, load = await environment.usual()
    environment.hangs_up = True
    service, delay = load.service, load.service.settings.shutdown_delay
    writer = service.caller()
    created = await writer.call("create_task", "POST", writer.tasks, {"title": "locked"})
    task = msgspec.json.decode(created.body, type=Created).id
    async with await server.session() as blocker, blocker.transaction():
        await blocker.execute("select from tasks where id = %s for update", (task,))
        service.terminate()
        terminated_at = monotonic()
        await asyncio.sleep(delay - 0.2)
        environment.require((await service.get("/readyz")).status == 503, "/readyz says ready")
        slow = asyncio.create_task(writer.call("update_task", "PUT", f"{writer.tasks}/{task}", {"title": "free"}))
        await asyncio.sleep(0.5)
    environment.require((await slow).status == 200, "a pending request is not finished")
    environment.require(await service.ended() == 0, "the service does not end with status 0")
    environment.notes.append(f"ended after {monotonic() - terminated_at:.1f} s")
    early = sum(not answer.succeeded and answer.began < terminated_at + delay for answer in load.answers)
    environment.require(not early, f"{early} calls failed that began before the service closed")


async def schema_change(environment: Environment) -> None:
    """a column and an index created and dropped, and a type changed, under prepared statements: no call fails"""
    server, load = await environment.usual()
    for change in SCHEMA_CHANGES:
        await server.execute(change)
        await asyncio.sleep(0.5)
    await load.healed()
    failed = sum(not answer.succeeded for answer in load.answers)
    environment.require(not failed, f"{failed} calls failed")


async def migrators(environment: Environment) -> None:
    """two migrations at the same time; then one killed halfway, and another started after it"""
    server = await environment.server()
    await server.execute("create database twice owner task_app")
    await server.execute("create database killed owner task_app")
    both = [await migrator(server, "twice") for _ in range(2)]
    printed = "".join([(await process.communicate())[0].decode() for process in both])
    environment.require([process.returncode for process in both] == [0, 0], "one of the two failed")
    environment.require(all(printed.count(name) == 1 for name in bundled()), "a migration was not applied exactly once")
    async with await server.session("killed") as blocker:
        await blocker.execute("create table users (id uuid primary key)")
        await blocker.execute("alter table users owner to task_app")
        async with blocker.transaction():
            await blocker.execute("lock table users")  # the second migration refers to it
            half_way = await migrator(server, "killed")
            while not await server.execute("select pid from pg_locks where not granted"):
                await asyncio.sleep(0.02)
            half_way.kill()
            await half_way.wait()
    next_one = await migrator(server, "killed")
    printed = (await next_one.communicate())[0].decode()
    environment.require(next_one.returncode == 0, "the next one fails")
    environment.require(
        all(name in printed for name in bundled()[1:]), "the next one did not complete the killed one's migrations"
    )


async def migrator(server: Server, database: str) -> asyncio.subprocess.Process:
    """A running `python -m service migrate`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "migrate"),
        cwd=ROOT,
        env={"PATH": os.defpath, "DATABASE_URL": server.url(database=database)},
        stdout=asyncio.subprocess.PIPE,
    )


async def bad_address(environment: Environment) -> None:
    """a host that does not exist; a wrong password, corrected later: the service starts in both cases"""
    server = await environment.server()
    await starved(environment, await environment.serve("postgresql://guarded:a-wrong-one@nowhere.invalid/tasks"))
    service = await environment.serve(server.url("guarded:a-wrong-one"))
    await starved(environment, service)
    environment.require(await logs(service, "password"), "the log does not say that the password is wrong")
    await server.execute("alter role guarded password 'a-wrong-one'")
    environment.load = Load(service)
    await asyncio.gather(environment.load.start(), environment.load.healed())


async def starved(environment: Environment, service: ServiceProcess) -> None:
    """Check that a service without a database responds, logs the reason, and logs no password."""
    caller = service.caller()
    environment.require(
        (await caller.call("list_tasks", "GET", caller.tasks)).status == 503, "no refusal without a database"
    )
    environment.require((await service.get("/readyz")).status == 503, "/readyz says ready")
    environment.require(await logs(service, "cannot be reached"), "the log does not say what is wrong")
    environment.require("a-wrong-one" not in service.log.read_text(), "the log has the password")


async def logs(service: ServiceProcess, text: str) -> bool:
    """Whether the service logs the text within LOG_SECONDS."""
    give_up = monotonic() + LOG_SECONDS
    while text not in service.log.read_text() and monotonic() < give_up:
        await asyncio.sleep(0.02)
    return text in service.log.read_text()
