"""Checks in the syntax tree that a statement accesses only rows of the user `$1`. What it cannot prove is a fault."""

from collections.abc import Iterable, Iterator
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import BoolExprType, JoinType, OnConflictAction
from pglast.visitors import Ancestor, Visitor

OWNERS = {"tasks": "user_id", "users": "id"}
"""The column with the owner of a row, by table. A statement may access no other table."""

KINDS = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)


def faults(sql: str) -> list[str]:
    """The reasons why `sql` may access rows of other users than `$1`. Empty when it provably does not."""
    statements = [raw.stmt for raw in parse_sql(sql)]
    if len(statements) != 1 or not isinstance(statements[0], KINDS):
        return ["it is not one statement on rows"]
    reading = Reading()
    reading(statements[0])
    return reading.faults + [
        f"{table.relname} is not plainly $1's"
        for table in reading.tables
        if table.relname not in reading.expressions and not any(table is proven for proven in reading.proven)
    ]


class Reading(Visitor):
    """Visits each table of a statement and of its subqueries, and records which tables are proven to be filtered.

    The proof is a condition on the table itself, or the values of its new rows. `a.user_id = b.user_id and
    b.user_id = $1` filters `a` too, but is not accepted: a change of the second condition would remove both filters.
    """

    def __init__(self) -> None:
        self.tables: list[ast.RangeVar] = []
        self.proven: list[ast.RangeVar] = []
        self.expressions: set[str | None] = set()
        """The names of common table expressions. Their statements are visited at their definition."""
        self.faults: list[str] = []

    def visit_RangeVar(self, _: Ancestor, node: ast.RangeVar) -> None:
        self.tables.append(node)

    def visit_CommonTableExpr(self, _: Ancestor, node: ast.CommonTableExpr) -> None:
        self.expressions.add(node.ctename)
        if node.ctename in OWNERS:
            self.faults.append(f"{node.ctename} hides the table")

    def visit_SelectStmt(self, _: Ancestor, node: Any) -> None:
        self._prove(node.fromClause or (), node.whereClause)
        if node.intoClause:
            self.faults.append("select into makes a table")

    def visit_DeleteStmt(self, _: Ancestor, node: Any) -> None:
        self._prove([node.relation, *(node.usingClause or ())], node.whereClause)

    def visit_UpdateStmt(self, _: Ancestor, node: Any) -> None:
        self._prove([node.relation, *(node.fromClause or ())], node.whereClause)
        self._keeps_owner(node.relation, node.targetList)

    def visit_InsertStmt(self, _: Ancestor, node: Any) -> None:
        owner, columns = OWNERS.get(node.relation.relname), [column.name for column in node.cols or ()]
        source, conflict = node.selectStmt or ast.SelectStmt(), node.onConflictClause
        rows = source.valuesLists or [[target.val for target in source.targetList or ()]]
        if not all(dict(zip(columns, row, strict=False)).get(owner) == _expression("$1") for row in rows):
            self.faults.append(f"a row of {node.relation.relname} is made for someone else")
        if conflict and conflict.action == OnConflictAction.ONCONFLICT_UPDATE:
            self._prove([node.relation], conflict.whereClause)
            self._keeps_owner(node.relation, conflict.targetList)
        else:
            self.proven.append(node.relation)

    def _prove(self, sources: Iterable[Any], where: Any) -> None:
        pending, tables, conditions = list(sources), [], list(_conditions(where))
        alone = len(pending) == 1 and isinstance(pending[0], ast.RangeVar)
        while pending:
            source = pending.pop()
            if isinstance(source, ast.JoinExpr):
                pending += [source.larg, source.rarg]
                if source.jointype == JoinType.JOIN_INNER:  # an outer join keeps rows that fail its condition
                    conditions += _conditions(source.quals)
            elif isinstance(source, ast.RangeVar):
                tables.append(source)
        for table in tables:
            owner = OWNERS.get(str(table.relname))
            name = table.alias.aliasname if table.alias else table.relname
            proofs = [_expression(f"{name}.{owner} = $1"), *([_expression(f"{owner} = $1")] if alone else [])]
            renamed = table.alias and table.alias.colnames
            if owner and not renamed and any(condition in proofs for condition in conditions):
                self.proven.append(table)

    def _keeps_owner(self, table: Any, targets: Iterable[Any]) -> None:
        if OWNERS.get(table.relname) in {target.name for target in targets}:
            self.faults.append(f"a row of {table.relname} is given away")


def _conditions(where: Any) -> Iterator[Any]:
    """The conditions that `where` joins by AND."""
    if isinstance(where, ast.BoolExpr) and where.boolop == BoolExprType.AND_EXPR:
        for part in where.args or ():
            yield from _conditions(part)
    elif where is not None:
        yield where


def _expression(text: str) -> Any:
    select: Any = parse_sql(f"select {text}")[0].stmt
    return select.targetList[0].val
