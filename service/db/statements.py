"""Loads the files of sql/ as `Statement` objects. No SQL text is written in Python."""

import re
from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from operator import itemgetter
from typing import Any, Protocol

from service.settings import ROOT


class Row(Protocol):
    """The interface of asyncpg.Record that is used: columns by name or position, slices, iteration over the columns."""

    def __getitem__(self, column: str | int | slice, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


FOLDER = ROOT / "sql"
CALL = ROOT / "roles" / "call.sql"

HEAVY_ROWS = 100
"""A read of this many rows or more is heavy: in a batch, the other reads would wait for it. It is sent alone, on a
connection that counts for its user, and so is the same read the next time."""


class Statement:
    """The statement in sql/NAME.sql, as data. `Database.run` runs it, and binds the user's id as `$1`.

    `batch_columns` are the positions of the columns that repeat the arguments of the call. A read with such columns can
    be batched: they show which call of the batch a row belongs to.
    `limit` is bound after the arguments of the caller: the most rows to return. In a batch, it is HEAVY_ROWS at most.
    """

    def __init__(self, name: str, batch_columns: tuple[int, ...] = (), limit: int | None = None) -> None:
        self.name = name
        self.batch_columns = batch_columns
        self.limit_arguments = () if limit is None else (limit,)
        self.limit_arguments_in_batch = () if limit is None else (min(limit, HEAVY_ROWS),)
        self.text = (FOLDER / f"{name}.sql").read_text()
        self.key_of_row = itemgetter(*batch_columns or (0,))
        self.key_of_call = itemgetter(*range(len(batch_columns) or 1))
        self.writes = re.search(r"^ *(insert|update|delete)\b", self.text, re.MULTILINE) is not None

    @cached_property
    def call(self) -> str:
        """The SQL text that calls the function which roles/functions.sql creates from this statement."""
        text = self.text.rstrip("\n")
        function = f"{self.name}_{sha256(text.encode()).hexdigest()[:8]}"
        last = max(map(int, re.findall(r"\$(\d+)", text)))
        parameters = ", ".join(f"${number}" for number in range(1, last + 1))
        return CALL.read_text().format(name=self.name, function=function, parameters=parameters)


def tenant_statements() -> list[Statement]:
    """All statements that run for a user. Each connection prepares all of them, so that bad SQL fails at the start."""
    return [s for s in (Statement(path.stem) for path in sorted(FOLDER.glob("*.sql"))) if "$1" in s.text]
