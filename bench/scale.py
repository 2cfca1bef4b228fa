"""Measures each statement, and each kind of page of a list, on a table of ten million tasks.

`make scale` starts its own server, and removes it at the end. The CPU time is that of the server process of the
connection, from /proc: it needs Linux, and other processes hardly affect it.
"""

import argparse
import asyncio
import json
import re
from itertools import product
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import psycopg

from bench.database import Server, running_server
from service.db.driver import open_connection
from service.db.migrations import migrate
from service.db.statements import tenant_statements
from service.settings import Settings
from service.tasks.list import PAGE
from service.tasks.query import ORDERS, WINDOW, ListQuery, case_insensitive_pattern

HEAVY = UUID("00000000-0000-4000-8000-000000000000")
"""The id of a user with 200,000 tasks. The other users have 100 each."""

HEAVY_TASKS, TASKS_EACH, BATCH = 200_000, 100, 500_000

FILL = """
insert into tasks (user_id, title, description, completed, created_at, updated_at)
select
    case when n %% {every} = 0 then '{heavy}'::uuid
        else format('00000000-0000-4000-8000-%%s', lpad((1 + n %% {users})::text, 12, '0'))::uuid end,
    'Task ' || n || ': buy what is needed',
    case when n %% 2 = 0 then 'Milk, bread and a new lamp; see whether the shop still has the offer of last week.' end,
    n %% 10 = 0,
    now() - n * interval '1 second',
    now() - (n * 7919 %% {tasks}) * interval '1 second'
from generate_series({first}::bigint, {last}::bigint) as n
"""

VALUES = {
    "completed": True,
    "title": "A title",
    "description": "A text",
    "pattern": "[Mm]ilk",
    "set_description": True,
    "size": PAGE,
    "window": WINDOW,
    "versions": ["1", "2", "3"],
    "fingerprint": 1,
    "version": 1,
}
"""The value of each parameter of the statements, by its name. Each run chooses the ids and the start of a page."""


def fill(url: str, tasks: int) -> None:
    """Fill the tables. Each page then has tasks of many users, as after months of use."""
    users = max(tasks // TASKS_EACH, 1)
    values = {"every": max(tasks // HEAVY_TASKS, 1), "users": users, "tasks": tasks, "heavy": HEAVY}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # no check of the foreign key for each task
        connection.execute(
            "insert into users select format('00000000-0000-4000-8000-%%s', lpad(n::text, 12, '0'))::uuid"
            " from generate_series(0, %s) as n",
            [users],
        )
        for first in range(0, tasks, BATCH):
            last = min(first + BATCH, tasks) - 1
            connection.execute(FILL.replace("%%", "%").format(first=first, last=last, **values).encode())
        connection.execute("vacuum (analyze) users, tasks")


class Backend:
    """A connection, and the CPU time of the server process behind it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._schedstat = Path(f"/proc/{connection.get_server_pid()}/schedstat")

    async def cpu(self, prepared: Any, arguments: tuple[Any, ...]) -> float:
        """Run a prepared statement. Returns its CPU time in microseconds."""
        before = self._now()
        await prepared.fetch(*arguments)
        return (self._now() - before) / 1000

    def _now(self) -> int:
        return int(self._schedstat.read_text().split()[0])


async def statements(backend: Backend) -> None:
    """Print a table: each statement's CPU time for users of 100 tasks, and its buffers beside its budget."""
    sample = await backend.connection.fetch(
        "select user_id, id from tasks tablesample system (0.1) where user_id <> $1 limit 400", HEAVY
    )
    print(f"{'statement':26} {'us':>6} {'buffers':>8}  budget")
    for statement in sorted(tenant_statements(), key=lambda statement: statement.name.startswith("delete")):
        names = re.findall(r"^--   \$\d+ (\w+)", statement.text, re.MULTILINE)
        start = ORDERS["-created_at" if statement.name.endswith("desc") else "created_at"].start
        budget = re.findall(r"^-- budget: (.*)", statement.text, re.MULTILINE)[0]
        prepared = await backend.connection.prepare(statement.text)
        times, buffers = [], []
        for number, (user_id, task_id) in enumerate(sample):
            known = {"user_id": user_id, "id": task_id, "created_at": start[0], "updated_at": start[0]}
            if statement.name.startswith("list"):
                known["id"] = start[1]
            if statement.name == "create_task_once":
                known["id"] = uuid4()
            values = tuple((known | VALUES)[name] for name in names)
            if number % 10 == 0:
                buffers.append(await touched(backend.connection, statement.text, values))
            times.append(await backend.cpu(prepared, values))
        print(f"{statement.name:26} {median(times):6.0f} {median(buffers):8.0f}  {budget}", flush=True)
    print()


async def touched(connection: Any, text: str, values: tuple[Any, ...]) -> int:
    """The number of buffers that one run reads or writes. The run is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    plan = json.loads(await connection.fetchval(f"explain (analyze, buffers, format json) {text}", *values))[0]["Plan"]
    await transaction.rollback()
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def pages(backend: Backend) -> None:
    """Print a table: the CPU time of each kind of page of the heavy user, first and deep."""
    print(f"{'parameters':55} {'first ms':>8} {'deep ms':>8}")
    filters: list[tuple[str, bool | None, str | None]] = [
        ("", None, None),
        ("&completed=true", True, None),
        ("&q=milk", None, "milk"),
        ("&q=nowhere", None, "nowhere"),
        ("&completed=true&q=nowhere", True, "nowhere"),
    ]
    for (sort, order), limit in product(ORDERS.items(), (50, 500)):
        prepared = await backend.connection.prepare(order.statement.text)
        direction = "desc" if sort.startswith("-") else "asc"
        deep = await backend.connection.fetchrow(
            f"select {order.column}, id from tasks where user_id = $1"  # noqa: S608 - column and direction are constants
            f" order by {order.column} {direction}, id {direction} offset {HEAVY_TASKS * 3 // 4} limit 1",
            HEAVY,
        )
        for name, completed, text in filters:
            pattern = text and case_insensitive_pattern(text)
            times = []
            for time, id in (order.start, deep):
                query = ListQuery(order, (time, id), completed, pattern, limit)
                arguments = (HEAVY, *query.arguments(limit + 1))
                times.append(min([await backend.cpu(prepared, arguments) for _ in range(3)]) / 1000)
            print(f"{f'sort={sort}&limit={limit}{name}':55} {times[0]:8.2f} {times[1]:8.2f}", flush=True)
    print()


async def measure(server: Server) -> None:
    connection = await open_connection(server.url("scale"), Settings(database_url=server.url("scale")))
    await connection.execute("set plan_cache_mode = force_generic_plan")  # the setting of roles/create.sql
    backend = Backend(connection)
    size = await connection.fetchval("select pg_size_pretty(pg_total_relation_size('tasks'))")
    print(f"PostgreSQL {server.version()}; the table of tasks and its indexes: {size}\n")
    await pages(backend)
    await statements(backend)
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Measure statements on a large table.")
    parser.add_argument("--tasks", type=int, default=10_000_000, help="how many: %(default)s")
    arguments = parser.parse_args()
    started = monotonic()
    with running_server(shared_buffers="2GB", max_wal_size="8GB") as server:  # usual settings for a table of this size
        server.create("scale")
        migrate(server.url("scale"))
        fill(server.url("scale"), arguments.tasks)
        print(f"filled in {monotonic() - started:.0f} s")
        asyncio.run(measure(server))


if __name__ == "__main__":
    main()
