"""Two states of the service against each other. This decides whether a change is worth its lines."""

import io
import math
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.report import cells, table
from bench.rounds import Turn
from bench.subjects import Subject, service
from service.settings import ROOT

FIGURES = {"service CPU": "service", "PostgreSQL CPU": "postgres", "requests/s": "rate", "p50": "p50", "p99": "p99"}
PARTS = ("service", "sql", "migrations")


@contextmanager
def two_states(revisions: str) -> Iterator[list[Subject]]:
    """The service before and after: as of `A` and of `B` for "A..B", of `A` and of the files here for "A".

    Both are copies, so that nothing changes meanwhile, and both run on today's packages.
    """
    before, _, after = revisions.partition("..")
    with TemporaryDirectory() as folder:
        states = {"before": before, "after": after}
        yield [service(name, _copy(revision, Path(folder, name))) for name, revision in states.items()]


def _copy(revision: str, folder: Path) -> Path:
    if revision:
        command = [shutil.which("git") or "git", "archive", revision, *PARTS]
        archive = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
    else:
        for part in PARTS:
            shutil.copytree(ROOT / part, folder / part)
    return folder


def comparison(turns: list[Turn]) -> str:
    """A table of after / before. Each figure is the median over the rounds, and the range of the rounds in brackets."""
    rows = []
    for (operation, connections), group in cells(turns).items():
        before = [turn for turn in group if turn.subject == "before"]
        after = [turn for turn in group if turn.subject == "after"]
        row = [operation, str(connections)]
        for figure in map(attrgetter, FIGURES.values()):
            ratios = [figure(late) / (figure(early) or math.nan) for early, late in zip(before, after, strict=True)]
            row.append(f"{median(ratios):.3f} [{min(ratios):.2f}-{max(ratios):.2f}]")
        service = [f"{median(turn.service for turn in turns):.1f}" for turns in (before, after)]
        rows.append([*row, " -> ".join(service), str(sum(turn.unexpected for turn in group))])
    return table(["operation", "connections", *FIGURES, "service CPU, µs", "unexpected"], rows)
