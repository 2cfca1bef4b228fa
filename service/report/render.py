"""Formats the report as text and as one HTML page."""

from html import escape
from typing import Any

from service.report.collect import Report, StatementReport

Table = tuple[str, list[str], list[list[str]]]
"""Heading, columns, rows."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 85rem; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
h2 { margin-top: 2rem }
.table { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
tr { border-bottom: 1px solid color-mix(in srgb, currentcolor 20%, transparent) }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap }
pre { overflow-x: auto }
th:first-child, td:first-child { text-align: left }
"""


def as_text(report: Report) -> str:
    """The report as aligned tables."""
    parts = [_title(report), *_remarks(report)]
    for heading, columns, rows in _tables(report):
        widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=True)) for row in [columns, *rows])
        ]
        parts.append("\n".join([heading, "", *(line.rstrip() for line in lines)] if rows else [f"{heading}: none"]))
    for name, plan in _plans(report):
        parts.append("\n".join([f"Plan of {name}", "", *plan]))
    return "\n\n".join(parts)


def as_html(report: Report) -> str:
    """The report as one HTML file without scripts."""
    title = escape(_title(report))
    parts = [f"<h1>{title}</h1>", *(f"<p>{escape(remark)}</p>" for remark in _remarks(report))]
    for heading, columns, rows in _tables(report):
        parts.append(f"<h2>{escape(heading)}</h2>")
        if not rows:
            parts.append("<p>None.</p>")
            continue
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')
    parts.append("<h2>Plans</h2>")
    for name, plan in _plans(report):
        lines = escape("\n".join(plan))
        parts.append(f"<details><summary>{escape(name)}</summary><pre>{lines}</pre></details>")
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return page + f"<body>{''.join(parts)}</body></html>"


def _title(report: Report) -> str:
    return f"Task service on {report.database}, PostgreSQL {report.postgresql}, {report.time:%Y-%m-%d %H:%M} UTC"


def _remarks(report: Report) -> list[str]:
    return [
        *(f"Note: {note}" for note in report.notes),
        *(f"Finding: {finding}" for finding in report.findings or ["none"]),
    ]


def _plans(report: Report) -> list[tuple[str, list[str]]]:
    """Each statement's name with its generic plan or the reason why there is none."""
    return [(each.name, each.plan or [each.plan_error or "unknown"]) for each in report.statements]


def _tables(report: Report) -> list[Table]:
    return [
        (
            "Statements (per call)",
            [
                "file",
                "calls",
                "ms",
                "buffers",
                "WAL bytes",
                "rows",
                "index expected",
                "index of the plan",
                "sort",
                "budget",
            ],
            [_statement(statement) for statement in report.statements],
        ),
        (
            "Tables",
            ["table", "rows", "MB", "bytes a row", "indexes MB", "dead rows", "HOT", "last autovacuum", "xid age"],
            [_table(table) for table in report.tables],
        ),
        (
            "Connections",
            ["program", "state", "connections", "oldest transaction s"],
            [
                [c["program"] or "-", c["state"], str(c["connections"]), f"{c['oldest_transaction']:.1f}"]
                for c in report.connections
            ],
        ),
        (
            "Locks on the tables now",
            ["table", "mode", "granted", "pid", "program", "seconds", "blocked by"],
            [
                [
                    lock["name"],
                    lock["mode"],
                    "yes" if lock["granted"] else "waits",
                    str(lock["pid"]),
                    lock["program"] or "-",
                    f"{lock['seconds']:.1f}",
                    ", ".join(map(str, lock["blocked_by"])) or "-",
                ]
                for lock in report.locks
            ],
        ),
    ]


def _statement(statement: StatementReport) -> list[str]:
    if statement.plan_indexes is None:
        plan, sort = "unknown", "-"
    else:
        plan, sort = ", ".join(statement.plan_indexes) or "none", "yes" if statement.sorts else "no"
    return [
        statement.name,
        str(statement.calls),
        _number(statement.milliseconds, 3),
        _number(statement.buffers, 1),
        _number(statement.wal_bytes, 0),
        _number(statement.rows, 1),
        statement.index.partition(":")[0],
        plan,
        sort,
        (statement.budget or "-").partition(":")[0],
    ]


def _table(table: dict[str, Any]) -> list[str]:
    rows, updates = table["row_count"], table["updates"]
    hot = f"{100 * table['hot_updates'] / updates:.0f} %" if updates else "-"
    if updates and table["hot_updates"] < updates:
        hot += f" (index: {table['indexes_against_hot']})" if table["indexes_against_hot"] else " (full pages)"
    return [
        table["name"],
        str(rows),
        f"{table['total_bytes'] / 2**20:.1f}",
        f"{table['total_bytes'] / rows:.0f}" if rows else "-",
        f"{table['index_bytes'] / 2**20:.1f}",
        str(table["dead_rows"]),
        hot,
        f"{table['last_autovacuum']:%Y-%m-%d %H:%M}" if table["last_autovacuum"] else "never",
        str(table["transaction_age"]),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
