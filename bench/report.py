"""Markdown tables of the runs. Each figure is the median over the rounds."""

from collections.abc import Callable
from operator import attrgetter
from statistics import median
from typing import Any, TypeVar

import msgspec

from bench.run import Run

QUIET = 0.1
"""The share of the machine that other processes may use during a quiet run."""

T = TypeVar("T")


def line(run: Run) -> str:
    """One run as a line of text."""
    return (
        f"{run.operation:7} {run.connections:4}  {run.subject:14} {run.service:7.1f} µs, "
        f"PostgreSQL {run.postgres:6.1f}, load {run.load:5.1f}, {run.rate:7.0f}/s, "
        f"p50 {run.p50:.2f} p95 {run.p95:.2f} p99 {run.p99:.2f} ms, "
        f"unexpected {run.unexpected}, other CPU {run.other_cpu:.0%}"
    )


def grouped(runs: list[Run], *fields: str) -> dict[Any, list[Run]]:
    """The runs by one field or several, in order of appearance."""
    found: dict[Any, list[Run]] = {}
    for run in runs:
        found.setdefault(attrgetter(*fields)(run), []).append(run)
    return found


def quiet(items: list[T], disturbance: Callable[[T], float]) -> list[T]:
    """The items in which other processes used at most QUIET of the machine, and always the quieter half."""
    ordered = sorted(items, key=disturbance)
    return [item for place, item in enumerate(ordered) if 2 * place < len(ordered) or disturbance(item) <= QUIET]


def medians(runs: list[Run]) -> list[Run]:
    """One run for each subject and load: medians of the quiet runs, all unexpected responses, the most memory."""
    made = []
    for group in grouped(runs, "operation", "connections", "subject").values():
        counted = quiet(group, attrgetter("other_cpu"))
        names = ("service", "postgres", "load", "rate", "p50", "p95", "p99", "other_cpu")
        figures = {name: median(map(attrgetter(name), counted)) for name in names}
        memory = min(run.memory[0] for run in group), max(run.memory[1] for run in group)
        unexpected = sum(run.unexpected for run in group)
        made.append(msgspec.structs.replace(group[0], unexpected=unexpected, memory=memory, **figures))
    return made


def at_a_glance(runs: list[Run]) -> str:
    """Processor time for each operation and subject at one number of connections, and its ratio to the service's."""
    names = list(grouped(runs, "subject"))
    rows = []
    for operation, group in grouped(runs, "operation").items():
        found = {run.subject: run for run in group}
        reference = found[names[0]]
        rows.append([operation, *(_beside(found.get(name), reference) for name in names)])
    return table(["operation", *names], rows)


def _beside(run: Run | None, reference: Run) -> str:
    if run is None:
        return ""
    return (
        number(run.service) if run is reference else f"{number(run.service)} ({run.service / reference.service:.1f}x)"
    )


def postgres(runs: list[Run]) -> str:
    """PostgreSQL's processor time for each operation, with the service and with pgbench."""
    rows = []
    for (operation, connections), group in grouped(runs, "operation", "connections").items():
        found = {run.subject: run.postgres for run in group}
        if "pgbench" in found and "service" in found:
            ratio = f"{found['service'] / found['pgbench']:.2f}"
            rows.append([operation, str(connections), number(found["service"]), number(found["pgbench"]), ratio])
    return table(["operation", "connections", "service", "pgbench", "ratio"], rows)


def in_full(runs: list[Run]) -> str:
    """Every figure of every subject and load."""
    head = [
        "operation",
        "connections",
        "subject",
        "CPU µs",
        "PostgreSQL µs",
        "requests/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ]
    rows = []
    for run in runs:
        figures = (run.service, run.postgres, run.rate, run.p50, run.p95, run.p99)
        rows.append([run.operation, str(run.connections), run.subject, *map(number, figures), str(run.unexpected)])
    return table([*head, "unexpected"], rows)


def memory(runs: list[Run]) -> str:
    """The memory of each subject before its first run, and its maximum after a run."""
    rows = []
    for name, group in grouped(runs, "subject").items():
        held = min(run.memory[0] for run in group), max(run.memory[1] for run in group)
        rows.append([name, *map(number, held)])
    return table(["subject", "before, MiB", "at most, MiB"], rows)


def number(value: float) -> str:
    """The number with three significant digits, or as an integer."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, aligned as plain text too, with right-aligned figures."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = [("-" * width) if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = []
    for row in (head, rule, *rows):
        first, *others = zip(row, widths, strict=True)
        lines.append(" | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))
    return "\n".join(f"| {line} |" for line in lines)
