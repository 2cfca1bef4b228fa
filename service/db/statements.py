"""A statement: one file of sql/, loaded once and run as one or many. No SQL text lives in Python."""

import re
from collections.abc import Awaitable, Sequence
from functools import cached_property
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from service.settings import ROOT

if TYPE_CHECKING:
    from service.db.database import Database

Row = Sequence[Any]
"""A row: its columns in the statement's order."""

FOLDER = ROOT / "sql"
CALL = ROOT / "roles" / "call.sql"


class Statement:
    """The statement in sql/NAME.sql. `one` and `many` cannot run it without a user's id, which is its `$1`.

    `match` makes a read one that reads.py may send together with others: the row's columns,
    by position, that repeat its arguments, so that each row finds its caller again.
    `last` are arguments that are the same for all callers. Running it raises what Database.read and Database.write
    raise.
    """

    def __init__(self, name: str, match: tuple[int, ...] = (), last: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.last = last
        self.text = (FOLDER / f"{name}.sql").read_text()
        self.batched = bool(match)
        self.key_of_row = itemgetter(*match or (0,))
        self.key_of_call = itemgetter(*range(len(match) or 1))
        code = [line for line in self.text.splitlines() if line and not line.startswith("--")]
        self.writes = not code[0].startswith("select")

    @cached_property
    def call(self) -> str:
        """The statement through the function that roles/functions.sql has made of it."""
        text = self.text.rstrip("\n")
        function = f"{self.name}_{sha256(text.encode()).hexdigest()[:8]}"
        last = max(map(int, re.findall(r"\$(\d+)", text)))
        parameters = ", ".join(f"${number}" for number in range(1, last + 1))
        return CALL.read_text().format(name=self.name, function=function, parameters=parameters)

    async def one(self, database: "Database", user_id: UUID, *arguments: Any) -> Row | None:
        """The row, or None."""
        rows = await self.many(database, user_id, *arguments)
        return rows[0] if rows else None

    def many(self, database: "Database", user_id: UUID, *arguments: Any) -> Awaitable[list[Row]]:
        """The rows, in the statement's order."""
        bound = (user_id, *arguments, *self.last)
        if self.batched and database.reads:
            return database.reads.rows(self, bound)
        return database.write(self, bound) if self.writes else database.read(self, bound)


def tenant_statements() -> list[Statement]:
    """Every file of sql/ that is run for a user: each connection prepares them all, so bad SQL is seen at the start."""
    return [s for s in (Statement(path.stem) for path in sorted(FOLDER.glob("*.sql"))) if "$1" in s.text]
