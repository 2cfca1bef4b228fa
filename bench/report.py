"""Turns as Markdown tables, each figure the median over the rounds."""

from collections.abc import Callable
from operator import attrgetter
from statistics import median
from typing import Any, TypeVar

import msgspec

from bench.turn import Turn

QUIET = 0.1
"""What something else may use of the machine during a turn."""

T = TypeVar("T")


def line(turn: Turn) -> str:
    """One turn, as it is printed when it is over."""
    return (
        f"{turn.operation:7} {turn.connections:4}  {turn.subject:14} {turn.service:7.1f} µs, "
        f"PostgreSQL {turn.postgres:6.1f}, load {turn.load:5.1f}, {turn.rate:7.0f}/s, "
        f"p50 {turn.p50:.2f} p95 {turn.p95:.2f} p99 {turn.p99:.2f} ms, "
        f"unexpected {turn.unexpected}, elsewhere {turn.elsewhere:.0%}"
    )


def grouped(turns: list[Turn], *fields: str) -> dict[Any, list[Turn]]:
    """The turns by one field or several, in order of appearance."""
    found: dict[Any, list[Turn]] = {}
    for turn in turns:
        found.setdefault(attrgetter(*fields)(turn), []).append(turn)
    return found


def quiet(items: list[T], disturbance: Callable[[T], float]) -> list[T]:
    """Those in which nothing else used more than QUIET of the machine, and the quieter half in any case."""
    ordered = sorted(items, key=disturbance)
    return [item for place, item in enumerate(ordered) if 2 * place < len(ordered) or disturbance(item) <= QUIET]


def medians(turns: list[Turn]) -> list[Turn]:
    """One turn for each subject and load: the medians of its quiet ones, all unexpected answers, the most memory."""
    made = []
    for group in grouped(turns, "operation", "connections", "subject").values():
        counted = quiet(group, attrgetter("elsewhere"))
        names = ("service", "postgres", "load", "rate", "p50", "p95", "p99", "elsewhere")
        figures = {name: median(map(attrgetter(name), counted)) for name in names}
        memory = min(turn.memory[0] for turn in group), max(turn.memory[1] for turn in group)
        unexpected = sum(turn.unexpected for turn in group)
        made.append(msgspec.structs.replace(group[0], unexpected=unexpected, memory=memory, **figures))
    return made


def at_a_glance(turns: list[Turn]) -> str:
    """Processor time for each operation and subject, at one number of connections, and how many times the service's."""
    names = list(grouped(turns, "subject"))
    rows = []
    for operation, group in grouped(turns, "operation").items():
        found = {turn.subject: turn for turn in group}
        ours = found[names[0]]
        rows.append([operation, *(_beside(found.get(name), ours) for name in names)])
    return table(["operation", *names], rows)


def _beside(turn: Turn | None, ours: Turn) -> str:
    if turn is None:
        return ""
    return number(turn.service) if turn is ours else f"{number(turn.service)} ({turn.service / ours.service:.1f}x)"


def postgres(turns: list[Turn]) -> str:
    """PostgreSQL's processor time for each operation, beside what pgbench asks of it for the same statements."""
    rows = []
    for (operation, connections), group in grouped(turns, "operation", "connections").items():
        found = {turn.subject: turn.postgres for turn in group}
        if "pgbench" in found and "service" in found:
            ratio = f"{found['service'] / found['pgbench']:.2f}"
            rows.append([operation, str(connections), number(found["service"]), number(found["pgbench"]), ratio])
    return table(["operation", "connections", "service", "pgbench", "ratio"], rows)


def in_full(turns: list[Turn]) -> str:
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
    for turn in turns:
        figures = (turn.service, turn.postgres, turn.rate, turn.p50, turn.p95, turn.p99)
        rows.append([turn.operation, str(turn.connections), turn.subject, *map(number, figures), str(turn.unexpected)])
    return table([*head, "unexpected"], rows)


def memory(turns: list[Turn]) -> str:
    """What each subject held before its first turn, and at most after one."""
    rows = []
    for name, group in grouped(turns, "subject").items():
        held = min(turn.memory[0] for turn in group), max(turn.memory[1] for turn in group)
        rows.append([name, *map(number, held)])
    return table(["subject", "before, MiB", "at most, MiB"], rows)


def number(value: float) -> str:
    """Three digits, or as many as stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table that is aligned as plain text too, figures to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = [("-" * width) if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = []
    for row in (head, rule, *rows):
        first, *others = zip(row, widths, strict=True)
        lines.append(" | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))
    return "\n".join(f"| {line} |" for line in lines)
