"""Reads the report from PostgreSQL, in one read-only session."""

import re
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from service.db.statements import FOLDER as SQL
from service.db.statements import Statement
from service.db.url import for_psycopg, location

FOLDER = Path(__file__).parent
Row = dict[str, Any]

CONSTANT = re.compile(r"e?'(?:[^']|'')*'|\$\d+|\b\d+\b|\b(?:true|false|null)\b")
BUDGET = re.compile(r"(\d+) buffers?(?: and (\d+) a row)?(, no sort)?")
JUDGED_ROWS = 10_000
"""The least number of tasks with which plans are checked: PostgreSQL scans a smaller table without indexes."""

UNPROTECTED = (
    "row-level security is off, although its functions are there: run roles/row-level-security.sql, or "
    "roles/functions.rollback.sql if no instance has ROW_LEVEL_SECURITY=true"
)

COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


class StatementReport(msgspec.Struct):
    """One file of sql/: its costs per call and its plan. A figure that the server does not provide is None."""

    name: str
    index: str
    """The index that the file's header names."""
    plan_indexes: list[str] | None = None
    sorts: bool | None = None
    plan: list[str] | None = None
    """The generic plan, line by line as `explain` prints it."""
    plan_error: str | None = None
    budget: str | None = None
    calls: int = 0
    milliseconds: float | None = None
    buffers: float | None = None
    wal_bytes: float | None = None
    rows: float | None = None


class Report(msgspec.Struct):
    """The contents of the report."""

    database: str
    postgresql: str
    time: datetime
    notes: list[str]
    findings: list[str]
    """Problems, one sentence each: costs and plans that differ from the headers of sql/, and missing policies."""
    statements: list[StatementReport]
    tables: list[Row]
    connections: list[Row]
    locks: list[Row]


def collect(database_url: str) -> Report:
    """Return the report of one database. Raises psycopg.Error, and SettingsError for a bad URL."""
    with psycopg.connect(for_psycopg(database_url), row_factory=dict_row) as connection:
        connection.prepare_threshold = None
        connection.read_only = True
        connection.execute((FOLDER / "begin.sql").read_bytes())
        # Read these first: the locks may be gone after the timeouts of plans of locked tables.
        locks, connections = _rows(connection, "locks"), _rows(connection, "connections")
        notes: list[str] = []
        costs = _costs(connection, notes)
        statements = [_statement(connection, Statement(path.stem), costs) for path in sorted(SQL.glob("*.sql"))]
        if any(statement.plan_error for statement in statements):
            notes.append(
                "Some plans are missing: this role may not run these statements (the role of the service may), or a "
                "table is locked."
            )
        try:
            tables = _rows(connection, "tables")
        except psycopg.errors.LockNotAvailable:
            tables = []
            notes.append("No sizes: a table is locked in access exclusive mode.")
        security = _rows(connection, "row_level_security")[0]
        judged = any(table["name"] == "tasks" and table["row_count"] >= JUDGED_ROWS for table in tables)
        return Report(
            location(database_url),
            str(connection.info.parameter_status("server_version")),
            datetime.now(UTC),
            notes,
            [
                *([UNPROTECTED] if security["has_functions"] and not security["enabled"] else []),
                *(finding for statement in statements for finding in findings(statement, plans=judged)),
            ],
            statements,
            tables,
            connections,
            locks,
        )


def findings(statement: StatementReport, plans: bool) -> list[str]:
    """What is not as the statement's header says: more buffers and, with `plans`, another index or a sort."""
    found = []
    budget = BUDGET.match(statement.budget or "")
    if budget and statement.buffers is not None:
        allowed = int(budget[1]) + int(budget[2] or 0) * (statement.rows or 0)
        if statement.buffers > allowed:
            found.append(f"{statement.name}: {statement.buffers:.1f} buffers a call, its budget is {allowed:.0f}")
    if plans and statement.plan_indexes is not None:
        index = re.match(r"\w+", statement.index)
        used = statement.plan_indexes
        # A statement without a budget reads all tasks of a user. Any index is right, as each begins with user_id.
        if index and index[0] != "none" and not (index[0] in used if budget else used):
            found.append(f"{statement.name}: the plan does not use {index[0]}: run analyze, see its plan")
        if budget and budget[3] and statement.sorts:
            found.append(f"{statement.name}: the plan sorts, which its budget excludes")
    return found


def normalized(text: str) -> str:
    """Remove comments, constants and layout, which versions of pg_stat_statements change in different ways."""
    text = CONSTANT.sub("?", COMMENT.sub(" ", text).lower())
    return " ".join(text.rstrip("; \n").split())


def _costs(connection: psycopg.Connection[Row], notes: list[str]) -> dict[str, Row]:
    try:
        rows = _rows(connection, "statements")
    except psycopg.Error:
        notes.append(
            "No costs: pg_stat_statements is not available. Add it to shared_preload_libraries, restart the server, "
            "and run `create extension pg_stat_statements` in this database."
        )
        return {}
    if any(row["query"] == "<insufficient privilege>" for row in rows):
        notes.append("Costs of other roles are hidden: grant pg_read_all_stats to this role.")
    costs: dict[str, Row] = {}
    for row in rows:
        cost = costs.setdefault(normalized(row["query"]), dict.fromkeys(row, 0))
        for name in ("calls", "milliseconds", "row_count", "buffers", "wal_bytes"):
            cost[name] += row[name]
    return costs


def _statement(connection: psycopg.Connection[Row], statement: Statement, costs: dict[str, Row]) -> StatementReport:
    text = statement.text
    report = StatementReport(statement.name, _header(text, "index") or "none", budget=_header(text, "budget"))
    # With row-level security, the service calls the statement's function.
    sent = {normalized(text), normalized(statement.call)} if "$1" in text else {normalized(text)}
    found = [costs[each] for each in sent if each in costs]
    if calls := sum(int(cost["calls"]) for cost in found):
        report.calls = calls
        report.milliseconds = sum(float(cost["milliseconds"]) for cost in found) / calls
        report.buffers = sum(int(cost["buffers"]) for cost in found) / calls
        report.wal_bytes = sum(int(cost["wal_bytes"]) for cost in found) / calls
        report.rows = sum(int(cost["row_count"]) for cost in found) / calls
    try:
        tree, report.plan = _plan(connection, statement.name, text)
    except psycopg.Error as error:
        report.plan_error = str(error).splitlines()[0]
    else:
        nodes = list(_nodes(tree))
        report.plan_indexes = sorted({node["Index Name"] for node in nodes if "Index Name" in node})
        report.sorts = any("Sort" in node["Node Type"] for node in nodes)
    return report


def _plan(connection: psycopg.Connection[Row], name: str, text: str) -> tuple[Row, list[str]]:
    """Return the plan as a tree and as lines."""
    parameters = max(map(int, re.findall(r"\$(\d+)", COMMENT.sub("", text))), default=0)
    arguments = f"({', '.join(['null'] * parameters)})" if parameters else ""
    # A unique name, because behind a pooler the session may still have the statement of an earlier report.
    name = f"{name}_{token_hex(4)}"
    plan = (FOLDER / "plan.sql").read_text().format(name=name, text=text.rstrip("; \n"), arguments=arguments)
    with connection.transaction():
        results = connection.execute(plan.encode()).results()
        tree, lines = [cursor.fetchall() for cursor in results if cursor.description]
    return tree[0]["QUERY PLAN"][0]["Plan"], [line["QUERY PLAN"] for line in lines]


def _nodes(plan: Row) -> Any:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _header(text: str, name: str) -> str | None:
    match = re.search(rf"^-- {name}: (.*)$", text, re.MULTILINE)
    return match[1] if match else None


def _rows(connection: psycopg.Connection[Row], name: str) -> list[Row]:
    with connection.transaction():  # a savepoint: a failure ends only this query
        return connection.execute((FOLDER / f"{name}.sql").read_bytes()).fetchall()
