"""Turns as tables in Markdown."""

from bench.rounds import Turn


def line(turn: Turn) -> str:
    """One turn, as it is printed when it is over."""
    return (
        f"{turn.operation:7} {turn.connections:4}  {turn.subject:12} {turn.service:7.1f} µs, "
        f"PostgreSQL {turn.postgres:6.1f}, load {turn.load:5.1f}, {turn.rate:7.0f}/s, "
        f"p50 {turn.p50:.2f} p95 {turn.p95:.2f} p99 {turn.p99:.2f} ms, "
        f"unexpected {turn.unexpected}, elsewhere {turn.elsewhere:.0%}"
    )


def cells(turns: list[Turn]) -> dict[tuple[str, int], list[Turn]]:
    """The turns by operation and number of connections."""
    found: dict[tuple[str, int], list[Turn]] = {}
    for turn in turns:
        found.setdefault((turn.operation, turn.connections), []).append(turn)
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table that is aligned as plain text too: the first column to the left, figures to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    rule = [("-" * width) if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    lines = []
    for cells in (head, rule, *rows):
        first, *others = zip(cells, widths, strict=True)
        lines.append(
            "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"
        )
    return "\n".join(lines)
