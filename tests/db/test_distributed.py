"""Checks the rules of distributed/README.md, which let the schema and statements run on shards. Needs no Citus."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, LiteralString

import asyncpg
import pytest
from pglast import parse_sql
from pglast.visitors import Ancestor, Visitor

from service.db.statements import FOLDER
from service.db.url import for_asyncpg
from tests.serving import Caller
from tests.tenancy import OWNERS

FILES = [path for path in sorted(FOLDER.glob("*.sql")) if "$1" in path.read_text()]

TOKEN = re.compile(r"\{(?P<node>\w+)|(?P<end>\})|:(?P<function>funcid|opfuncid) (?P<oid>\d+)")


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(for_asyncpg(database))
    yield connection
    await connection.close()


async def stable_over_columns(connection: Any, statement: str) -> list[str]:
    """The functions of `statement` that are not IMMUTABLE and have a column among their arguments.

    PostgreSQL has resolved the operators to functions in the parse tree that it keeps of a function's body.
    """
    prepared = await connection.prepare(statement)
    types = ", ".join(parameter.name for parameter in prepared.get_parameters())
    await connection.execute(
        f"create function pg_temp.parsed({types}) returns int begin atomic {statement}; select 1; end"
    )
    tree = await connection.fetchval("select prosqlbody from pg_proc where proname = 'parsed'")
    await connection.execute(f"drop function pg_temp.parsed({types})")
    over_columns = functions_over_columns(tree)
    rows = await connection.fetch(
        "select distinct proname from pg_proc where provolatile <> 'i' and oid::text = any($1::text[])", over_columns
    )
    return [name for (name,) in rows]


def functions_over_columns(tree: str) -> list[str]:
    """The oids of the functions in a node tree whose arguments hold a column."""
    found, functions = set(), [""]  # of each open node its function, or ""
    for token in TOKEN.finditer(tree):
        if token["node"] == "VAR":
            found |= {*functions}
        if token["node"]:
            functions.append("")
        elif token["end"]:
            functions.pop()
        else:
            functions[-1] = token["oid"]
    return sorted(found - {""})


class Conflicts(Visitor):
    """The conflict targets that are not a constraint's name."""

    def __init__(self) -> None:
        self.columns: list[Any] = []

    def visit_OnConflictClause(self, _: Ancestor, node: Any) -> None:
        if node.infer and not node.infer.conname:
            self.columns.append(node.infer)


def conflicts_by_column(sql: str) -> list[Any]:
    found = Conflicts()
    found(parse_sql(sql))
    return found.columns


async def test_unique_key_of_every_table_holds_the_user(connection: Any) -> None:
    keys = await connection.fetch(
        """
        select indrelid::regclass::text as table, indexrelid::regclass::text as key,
            array(select attname::text from pg_attribute where attrelid = indrelid and attnum = any(indkey)) as columns
        from pg_index where indisunique and indrelid::regclass::text = any($1::text[])
        """,
        list(OWNERS),
    )

    assert {table for table, _, _ in keys} == set(OWNERS)
    assert [key for table, key, columns in keys if OWNERS[table] not in columns] == []


async def test_foreign_key_joins_the_users_of_both_tables(connection: Any) -> None:
    """So a task and its user are on the same shard."""
    (key,) = await connection.fetch("select pg_get_constraintdef(oid) from pg_constraint where contype = 'f'")

    assert key[0] == "FOREIGN KEY (user_id) REFERENCES users(id)"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_statement_that_writes_applies_only_immutable_functions_to_columns(connection: Any, file: Any) -> None:
    sql = file.read_text()
    if re.search("^ *(update|insert|delete)", sql, re.MULTILINE):
        assert await stable_over_columns(connection, sql) == []


@pytest.mark.parametrize(
    ("function", "sql"),
    [
        ("timestamptz_pl_interval", "update tasks set updated_at = updated_at + interval '1 s' where user_id = $1"),
        ("timestamptz_pl_interval", "delete from tasks where user_id = $1 and now() < created_at + interval '1 s'"),
        (
            "date_trunc",
            "update tasks set updated_at = greatest(now(), date_trunc('day', created_at)) where user_id = $1",
        ),
    ],
)
async def test_statement_that_applies_another_function_to_a_column_is_detected(
    connection: Any, function: str, sql: str
) -> None:
    assert await stable_over_columns(connection, sql) == [function]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_statement_names_the_constraint_of_a_conflict(file: Any) -> None:
    assert conflicts_by_column(file.read_text()) == []


def test_statement_that_names_the_columns_of_a_conflict_is_detected() -> None:
    assert conflicts_by_column("insert into tasks (user_id) values ($1) on conflict (id) do nothing")


@pytest.mark.parametrize(
    "change",
    [
        "alter table tasks rename constraint task_belongs_to_user to task_belongs_to_user_102040",
        """
        create function refuse() returns trigger language plpgsql as $$
        begin
            if not exists (select from users where id = new.user_id) then
                raise exception 'no such user' using errcode = 'foreign_key_violation';
            end if;
            return new;
        end $$;
        create trigger refuse before insert on tasks for each row execute function refuse()
        """,
    ],
    ids=["the name of a shard's constraint", "no name"],
)
def test_create_task_of_a_new_user_works_with_the_error_of_citus(
    ada: Caller, rows: Callable[..., list[Any]], change: LiteralString
) -> None:
    rows(change)

    assert ada.create(title="x").status_code == 201
