"""The files of sql/: each line of each header is compared with a database of 50,000 tasks, each filter is checked."""

import ast
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from pglast import ast as sql_ast
from pglast import parse_sql
from pglast.visitors import Ancestor, Visitor

from bench import pgbench, scale
from service.app import ROUTES
from service.db.statements import FOLDER, tenant_statements
from service.db.url import for_asyncpg, for_psycopg
from service.dev.postgres import ENVIRONMENT, PROGRAMS
from service.settings import ROOT
from service.tasks.list import PAGE
from service.tasks.query import WINDOW
from service.tasks.types import Task
from tests.conftest import Postgres
from tests.tenancy import faults

PROBE = "applied_migrations"
"""The one statement that is no user's: the readiness probe's."""

HEADER = re.compile(
    r"-- (?P<name>\w+): \S.*\n"
    r"--\n"
    r"(?:(?P<parameters>(?:--   \$.*\n)+)--\n)?"
    r"-- returns (?P<count>one|many): (?P<columns>.*\n(?:--   .*\n)*)"
    r"-- index: (?:(?P<index>[a-z_]+)|none: .+)\n"
    r"-- budget: (?:(?P<buffers>\d+) buffers?(?: and (?P<a_row>\d+) a row)?, no sort|none: .+)\n"
    r"(?:--\n(?:-- .*\n)+)?"
    r"\n"
)

FILES = sorted(FOLDER.glob("*.sql"))
OF_USERS = [file for file in FILES if file.stem != PROBE]

HEAVY, LIGHT = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002"
"""Users with 5,000 tasks and with one; 300 other users have 44,999 tasks."""

NEW = "a0000000-0000-4000-8000-000000000003"
"""A user with none, unknown to the database."""

FILL = f"""
    insert into users select gen_random_uuid() from generate_series(1, 300);
    insert into users values ('{HEAVY}'), ('{LIGHT}');
    insert into tasks (user_id, title, completed, created_at)
    select user_id, 'task ' || n, n % 3 = 0, now() - n * interval '1 second'
    from (
        select id as user_id, n
        from (
            select id, row_number() over () as user_number from users where id not in ('{HEAVY}', '{LIGHT}')
        ) as others
        join generate_series(1, 44999) as n on n % 300 = user_number - 1
        union all select '{HEAVY}', n from generate_series(1, 5000) as n
    ) as mixed
    order by md5(n::text);
    insert into tasks (user_id, title) values ('{LIGHT}', 'the only one');
    analyze;
"""
"""Each page of the table holds tasks of many users and of any age, as in a table that was written for months."""


class Header(msgspec.Struct):
    """What a file says of its statement. Parameters and columns are (name, type), in order; `index` may be none.

    `budget` is the most buffers that a run may touch: so many, and so many more for each row returned.
    """

    name: str
    parameters: list[tuple[str, str]]
    count: str
    columns: list[tuple[str, str]]
    index: str | None
    budget: tuple[int, int] | None


def header(file: Path) -> Header:
    found = HEADER.match(file.read_text())
    assert found, f"{file.name} has no header as sql/README.md says"
    parameters = [line.split()[1:4] for line in (found["parameters"] or "").splitlines()]
    assert [number for number, *_ in parameters] == [f"${n}" for n in range(1, len(parameters) + 1)]
    columns = [column.split() for column in found["columns"].replace("\n--", "").split(",")]
    return Header(
        found["name"],
        [(name, kind) for _, name, kind in parameters],
        found["count"],
        [(name, kind) for name, kind in columns],
        found["index"],
        (int(found["buffers"]), int(found["a_row"] or 0)) if found["buffers"] else None,
    )


def named(file: Path) -> str:
    return file.stem


@pytest.fixture(scope="module")
def filled(postgres: Postgres, template: str) -> Iterator[str]:
    """The URL of a migrated database with 50,000 tasks."""
    with postgres.database(template) as url:
        yield url


@pytest.fixture(scope="module")
async def connection(filled: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(for_asyncpg(filled))
    await connection.execute(FILL)
    assert await connection.fetchval("select count(*) from tasks") == 50_000
    yield connection
    await connection.close()


async def plan(connection: Any, file: Path, mode: str, user_id: str, options: str = "costs") -> dict[str, Any]:
    """The plan of the statement in `file` for `user_id`. A list starts at its first page."""
    task_id = await connection.fetchval("select id from tasks where user_id = $1::text::uuid", user_id) or uuid4()
    start = "infinity" if file.stem.endswith("desc") else "-infinity"
    known = {"user_id": user_id, "id": task_id, "window": WINDOW, "size": PAGE}
    others = {"bool": "true", "text": "some text", "text[]": "{1}", "int8": 1, "int4": 1, "timestamptz": start}
    parameters = header(file).parameters
    assert {kind for _, kind in parameters} <= {"uuid", *others}, "add a value of the parameter's type to `others`"
    values = ", ".join(f"'{known.get(name) or others[kind]}'" for name, kind in parameters)
    await connection.execute(f"set plan_cache_mode = force_{mode}_plan; prepare planned as {file.read_text()}")
    try:
        async with connection.transaction():  # in an outer transaction it is a savepoint, so that `deallocate` can run
            text = await connection.fetchval(
                f"explain ({options}, format json) execute planned{values and f'({values})'}"
            )
    finally:
        await connection.execute("deallocate planned")
    found: dict[str, Any] = json.loads(text)[0]["Plan"]
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.mark.parametrize("file", FILES, ids=named)
async def test_header_names_the_file(file: Path) -> None:
    assert header(file).name == file.stem


@pytest.mark.parametrize("file", FILES, ids=named)
async def test_header_has_the_parameters_types(connection: Any, file: Path) -> None:
    prepared = await connection.prepare(file.read_text())

    assert [kind for _, kind in header(file).parameters] == [kind.name for kind in prepared.get_parameters()], (
        f"the header of {file.name} must name the parameters that the statement has"
    )


@pytest.mark.parametrize("file", FILES, ids=named)
async def test_header_has_the_columns_and_their_types(connection: Any, file: Path) -> None:
    prepared = await connection.prepare(file.read_text())

    assert header(file).columns == [(column.name, column.type.name) for column in prepared.get_attributes()], (
        f"the header of {file.name} must name the columns that the statement returns"
    )


@pytest.mark.parametrize("user_id", [HEAVY, LIGHT, NEW], ids=["heavy", "light", "new"])
@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("file", OF_USERS, ids=named)
async def test_header_names_the_index_that_the_plan_uses(connection: Any, file: Path, mode: str, user_id: str) -> None:
    steps = list(nodes(await plan(connection, file, mode, user_id)))

    indexes = {step["Index Name"] for step in steps if "Index Name" in step}
    sorts = [step["Plan Rows"] for step in steps if "Sort" in step["Node Type"]]
    if sorts and mode == "custom" and indexes == {"tasks_by_id"}:
        indexes = {"tasks_by_user_newest"}  # to sort all of a user's few tasks, the planner may take either index
    assert indexes == {header(file).index} - {None}
    assert not [step for step in steps if "Seq Scan" in step["Node Type"]]
    if header(file).budget is None:
        assert sorts
    elif mode == "generic":
        assert not sorts
    else:  # when no more than a page or two is expected, a bitmap and a sort may seem cheaper than to jump about
        assert all(rows < 2 * PAGE for rows in sorts)


@pytest.mark.parametrize("user_id", [HEAVY, LIGHT, NEW], ids=["heavy", "light", "new"])
@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("file", FILES, ids=named)
async def test_statement_touches_no_more_buffers_than_its_budget(
    connection: Any, file: Path, mode: str, user_id: str
) -> None:
    budget = header(file).budget
    for _ in range(2):  # a connection's first run of a statement also reads catalogs
        change = connection.transaction()
        await change.start()
        if file.stem.startswith("create_task"):
            await connection.execute(f"insert into users values ('{user_id}') on conflict do nothing")
        try:
            run = await plan(connection, file, mode, user_id, "analyze, buffers")
        finally:
            await change.rollback()

    touched = run["Shared Hit Blocks"] + run["Shared Read Blocks"]
    if budget:
        assert touched <= budget[0] + budget[1] * run["Actual Rows"]
    elif user_id == HEAVY:
        assert touched > 700  # it has no budget because it reads all of the user's tasks


@pytest.mark.parametrize("user_id", [HEAVY, LIGHT], ids=["heavy", "light"])
async def test_plan_of_a_list_is_generic_after_five_runs(connection: Any, user_id: str) -> None:
    await connection.execute(f"set plan_cache_mode = auto; prepare again as {(FOLDER / 'list_tasks.sql').read_text()}")
    for _ in range(7):
        await connection.execute(f"execute again ('{user_id}', {PAGE})")
    plans = await connection.fetchrow(
        "select custom_plans, generic_plans from pg_prepared_statements where name = 'again'"
    )
    await connection.execute("deallocate again")

    assert tuple(plans) == (5, 2)


async def test_plan_without_the_order_of_the_index_is_detected(connection: Any, tmp_path: Path) -> None:
    file = tmp_path / "worse.sql"
    file.write_text((FOLDER / "list_tasks.sql").read_text().replace("created_at desc, id", "updated_at desc, id"))

    steps = list(nodes(await plan(connection, file, "custom", HEAVY)))

    assert [step["Plan Rows"] for step in steps if step["Node Type"] == "Sort"] > [2 * PAGE]


async def test_plan_without_the_user_is_detected(connection: Any, tmp_path: Path) -> None:
    file = tmp_path / "worse.sql"
    file.write_text((FOLDER / "get_task.sql").read_text().replace("user_id = $1 and id = $2", "$1 = $2"))

    steps = list(nodes(await plan(connection, file, "generic", HEAVY)))

    assert "Seq Scan" in {step["Node Type"] for step in steps}


@pytest.mark.parametrize("file", FILES, ids=named)
async def test_header_says_whether_there_may_be_many_rows(connection: Any, file: Path) -> None:
    top = await plan(connection, file, "generic", HEAVY)

    assert header(file).count == ("one" if top["Plan Rows"] == 1 and top["Node Type"] != "Limit" else "many")


def test_statement_of_every_file_but_the_probe_takes_the_user_first() -> None:
    assert {file.stem for file in FILES if header(file).parameters[:1] != [("user_id", "uuid")]} == {PROBE}
    assert [statement.name for statement in tenant_statements()] == [file.stem for file in OF_USERS]


@pytest.mark.parametrize("file", [file for file in FILES if ("title", "text") in header(file).columns], ids=named)
def test_columns_of_a_statement_that_returns_tasks_start_with_the_fields_of_a_task(file: Path) -> None:
    fields = Task.__struct_fields__

    assert [name for name, _ in header(file).columns[: len(fields)]] == list(fields), (
        f"{file.name} must return the fields of Task in service/tasks/types.py first, in their order"
    )


@pytest.mark.parametrize("file", OF_USERS, ids=named)
def test_benchmarks_have_a_value_for_each_parameter(file: Path) -> None:
    names = {name for name, _ in header(file).parameters}

    assert names <= scale.VALUES.keys() | {"user_id", "id", "created_at", "updated_at"}, (
        "add it to bench/scale.py, VALUES"
    )
    if file.stem in pgbench.STATEMENTS.values():
        assert names <= pgbench.PARAMETERS.keys(), "add it to bench/pgbench.py, PARAMETERS"


@pytest.mark.parametrize("file", OF_USERS, ids=named)
def test_statement_touches_only_the_users_rows(file: Path) -> None:
    assert faults(file.read_text()) == []


def test_statement_of_the_probe_touches_only_the_notes_of_migrations() -> None:
    assert faults((FOLDER / f"{PROBE}.sql").read_text()) == ["_yoyo_migration is not plainly $1's"]


@pytest.mark.parametrize(
    "sql",
    [
        "select id from tasks",
        "select id from tasks where user_id = $2 and id = $1",
        "select id from tasks where id = $1",
        "select id from tasks where user_id = $1 or true",
        "select id from tasks where user_id = $1 or completed",
        "select id from tasks where (user_id = $1 and completed) or id = $2",
        "select id from tasks where not user_id = $1",
        "select id from tasks where user_id <> $1",
        "select id from tasks where user_id = any($1)",
        "select id from tasks where coalesce(user_id = $1, true)",
        "select id from tasks where (user_id = $1) is not null",
        "select id from tasks where id in (select id from tasks where user_id = $1)",
        "select id from tasks where user_id = $1 and exists (select from tasks as other where other.id = $2)",
        "select id from tasks where user_id = $1 and (select t.title from tasks as t where tasks.user_id = $1) = $2",
        "select title from tasks where user_id = $1 union all select title from tasks",
        "select title from (select title from tasks) as titles",
        "select title from tasks as t (user_id, id) where user_id = $1",
        "select title from tasks, users where tasks.user_id = $1",
        "select title from tasks join users on users.id = tasks.user_id where tasks.user_id = $1",
        "select title from users left join tasks on users.id = $1 and tasks.user_id = $1",
        "select title from tasks tablesample system (100) where user_id = $1",
        "select title from public.tasks where title = $1",
        "select migration_id from _yoyo_migration",
        "select title into temporary table titles from tasks where user_id = $1",
        "with tasks as (select title from tasks where user_id = $1) select title from tasks",
        "with titles as (select title from tasks) select title from titles",
        "with gone as (delete from tasks returning user_id) select user_id from gone where user_id = $1",
        "insert into tasks (user_id, title) values ('a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d', $1)",
        "insert into tasks (user_id, title) values ($1, $2), ($3, $2)",
        "insert into tasks values ($1, $1, $2)",
        "insert into tasks (title) values ($1)",
        "insert into tasks default values",
        "insert into tasks (user_id, title) select user_id, title from tasks where user_id = $1",
        "insert into tasks (user_id, title) select $1, title from tasks",
        "insert into tasks (id, user_id) values ($2, $1) on conflict (id) do update set title = $3",
        "insert into tasks (user_id) values ($2) on conflict (id) do update set title = '' where tasks.user_id = $1",
        "update tasks set title = $2 where id = $1",
        "update tasks set user_id = $2 where user_id = $1",
        "update tasks set (title, user_id) = ($2, $3) where user_id = $1",
        "update tasks set title = other.title from tasks as other where tasks.user_id = $1",
        "delete from tasks",
        "delete from tasks using users where users.id = $1",
        "merge into tasks using users on users.id = $1 when matched then delete",
        "delete from tasks where user_id = $1; delete from tasks",
        "truncate tasks",
        "lock table tasks",
        "set statement_timeout = 0",
    ],
)
def test_statement_that_touches_other_rows_is_detected(sql: str) -> None:
    assert faults(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select t.title from tasks as t where t.user_id = $1",
        "select title from users join tasks on tasks.user_id = $1 where users.id = $1",
        "select title from users left join tasks on true where tasks.user_id = $1 and users.id = $1",
        "with mine as (select title from tasks where user_id = $1) select title from mine",
        "insert into tasks (user_id, title) select $1, title from tasks where user_id = $1",
        "insert into tasks as t (user_id) values ($1) on conflict (id) do update set title = '' where t.user_id = $1",
        "select count(*) from tasks where user_id = $1 and (completed or title = $2)",
    ],
)
def test_statement_that_touches_only_the_users_rows_is_accepted(sql: str) -> None:
    assert faults(sql) == []


class Parts(Visitor):
    """The functions that a statement calls, and whether it has a `*` for columns."""

    def __init__(self) -> None:
        self.functions: set[str] = set()
        self.stars = False

    def visit_FuncCall(self, _: Ancestor, node: Any) -> None:
        self.functions.add(node.funcname[-1].sval)

    def visit_A_Star(self, _: Ancestor, node: sql_ast.A_Star) -> None:
        self.stars = True


def parts(sql: str) -> Parts:
    found = Parts()
    found(parse_sql(sql))
    return found


@pytest.mark.parametrize("file", FILES, ids=named)
def test_statement_names_its_columns_and_stands_alone(file: Path) -> None:
    assert not parts(file.read_text()).stars
    assert ";" not in re.sub("--.*", "", file.read_text())


@pytest.mark.parametrize("file", FILES, ids=named)
async def test_statement_calls_no_function_with_effects(connection: Any, file: Path) -> None:
    """Functions with effects are, for example, set_config, the advisory locks, pg_notify and nextval."""
    assert await with_effects(connection, parts(file.read_text()).functions) == []


@pytest.mark.parametrize("call", ["set_config('a.b', 'c', false)", "pg_advisory_lock(1)", "pg_notify('a', 'b')"])
async def test_statement_that_calls_a_function_with_effects_is_detected(connection: Any, call: str) -> None:
    assert await with_effects(connection, parts(f"select coalesce({call})").functions)


async def with_effects(connection: Any, functions: set[str]) -> list[Any]:
    rows = await connection.fetch(
        "select distinct proname from pg_proc where proname = any($1::text[]) and provolatile = 'v'", list(functions)
    )
    return [name for (name,) in rows]


def statement(node: ast.AST) -> str | None:
    """The name in `Statement("name")`."""
    match node:
        case ast.Call(func=ast.Name(id="Statement"), args=[ast.Constant(value=str(name)), *_]):
            return name
    return None


def test_statement_of_every_file_is_in_the_service() -> None:
    modules = [ast.parse(path.read_text()) for path in (ROOT / "service").rglob("*.py")]
    names = {name for module in modules for node in ast.walk(module) if (name := statement(node))}

    assert sorted(names) == [file.stem for file in FILES]


def test_statement_that_is_a_constant_has_its_name() -> None:
    constants = {
        name: node.targets[0].id
        for path in (ROOT / "service").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (name := statement(node.value))
    }

    assert constants == {name: name.upper() for name in constants}
    assert constants.keys() >= {route.handler.__name__ for route in ROUTES if not route.public}


def test_statement_of_every_operation_has_its_name() -> None:
    operations = {route.handler.__name__ for route in ROUTES if not route.public}
    variants = tuple(f"{operation}_" for operation in operations)
    further = {file.stem for file in FILES if not file.stem.startswith(variants)} - operations

    assert operations <= {file.stem for file in FILES}
    assert further == {PROBE, "create_user"}


def test_readme_of_sql_runs_in_psql(filled: str, connection: Any) -> None:
    """With the connection only for the tasks that it brings."""
    session = (FOLDER / "README.md").read_text().split("```")[1].removeprefix("sql")

    command = [str(PROGRAMS / "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", for_psycopg(filled)]
    environment = {"PATH": "/usr/bin:/bin", **ENVIRONMENT}
    psql = subprocess.run(command, input=session, capture_output=True, text=True, cwd=ROOT, env=environment)

    assert psql.stderr == ""
    assert "using tasks_by_user_newest on tasks" in psql.stdout
