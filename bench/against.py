"""Compares two commits of the service in interleaved runs."""

import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from bench.report import grouped, quiet, table
from bench.run import Run
from bench.subjects import Subject, service
from service.settings import ROOT

FIGURES = {"service CPU": "service", "PostgreSQL CPU": "postgres", "requests/s": "rate", "p50": "p50", "p99": "p99"}
PARTS = ("service", "sql", "migrations")


@contextmanager
def two_states(revisions: str) -> Iterator[list[Subject]]:
    """The service before and after: at commits `A` and `B` for "A..B", at `A` and in the working tree for "A".

    Both are copies, so that an edit changes no run, and both use the installed packages.
    """
    before, _, after = revisions.partition("..")
    with TemporaryDirectory() as folder:
        states = {"before": before, "after": after}
        yield [service(name, _copy(revision, Path(folder, name))) for name, revision in states.items()]


def _copy(revision: str, folder: Path) -> Path:
    if revision:
        command = [shutil.which("git") or "git", "archive", "--format=zip", revision, *PARTS]
        archive = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        with ZipFile(BytesIO(archive)) as files:
            files.extractall(folder)
    else:
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part)
    return folder


def comparison(runs: list[Run]) -> str:
    """A table of the ratios after / before: the median of the quiet rounds, and their range in brackets.

    `other CPU` is the largest share of the machine that other processes used in one of these rounds.
    """
    rows = []
    for (operation, connections), group in grouped(runs, "operation", "connections").items():
        sides = grouped(group, "subject")
        pairs = list(zip(sides["before"], sides["after"], strict=True))
        counted = quiet(pairs, _disturbance)
        row = [operation, str(connections)]
        for figure in map(attrgetter, FIGURES.values()):
            ratios = [figure(after) / (figure(before) or math.nan) for before, after in counted]
            row.append(f"{median(ratios):.3f} [{min(ratios):.2f}-{max(ratios):.2f}]")
        costs = " -> ".join(f"{median(run.service for run in side):.1f}" for side in zip(*counted, strict=True))
        rounds = f"{len(counted)} of {len(pairs)}"
        other_cpu = f"{max(map(_disturbance, counted)):.0%}"
        rows.append([*row, costs, rounds, other_cpu, str(sum(run.unexpected for run in group))])
    head = ["operation", "connections", *FIGURES, "service CPU, µs", "rounds", "other CPU", "unexpected"]
    return table(head, rows)


def _disturbance(pair: tuple[Run, Run]) -> float:
    return max(run.other_cpu for run in pair)
