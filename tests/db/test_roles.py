"""The scripts of roles/, run by psql as a deployer runs them: what each role may do, and row-level security."""

import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import psycopg
import pytest
from pglast import ast, parse_sql
from pglast.visitors import Ancestor, Visitor

from service.db.migrations import bundled, migrate, rollback
from service.db.statements import FOLDER
from service.db.url import for_psycopg
from service.dev.postgres import ENVIRONMENT, PROGRAMS
from service.settings import ROOT, read_settings
from tests.conftest import Postgres
from tests.database import BLOCKED, locked, name_of
from tests.db.test_migrations import schema
from tests.observability.test_health import unready
from tests.serving import SECRET, Caller, serving, until

PASSWORD = "of-roles-of-tests"


class Roles:
    """The roles of one database, and their scripts."""

    def __init__(self, database: str, names: dict[str, str]) -> None:
        self.database = database
        self.names = names

    def url(self, role: str) -> str:
        """The database's address for a role, or for the administrator."""
        if role == "administrator":
            return self.database
        parts = urlsplit(self.database)
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{quote(self.names[role])}:{PASSWORD}@{host}").geturl()

    def run(self, role: str, script: str, folder: Path = ROOT) -> None:
        psql(self.url(role), script, self.names, folder)

    def execute(self, role: str, statement: LiteralString) -> list[Any]:
        with psycopg.connect(for_psycopg(self.url(role))) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def secure(self) -> None:
        """Row-level security, in the order of roles/README.md."""
        self.run("migrator", "functions.sql")
        self.run("migrator", "row-level-security.sql")


def psql(url: str, script: str, names: dict[str, str], folder: Path = ROOT) -> None:
    command = [str(PROGRAMS / "psql"), "--no-psqlrc", "--quiet", f"--file=roles/{script}", for_psycopg(url)]
    command += [f"--set={role}={name}" for role, name in names.items()]
    environment = {"PATH": "/usr/bin:/bin", **ENVIRONMENT}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.fixture(scope="module")
def names(postgres: Postgres) -> Iterator[dict[str, str]]:
    prefix = f"test {secrets.token_hex(3)}"  # a name that must be quoted
    chosen = {role: f"{prefix} {role}" for role in ("owner", "migrator", "application", "reader")}
    for name in chosen.values():
        postgres.execute(f"create role {{}} password '{PASSWORD}'", name)
    yield chosen
    psql(postgres.url("postgres"), "drop.sql", chosen)


@pytest.fixture
def roles(database: str, names: dict[str, str]) -> Roles:
    """In a database that was migrated before there were roles."""
    chosen = Roles(database, names)
    chosen.run("administrator", "create.sql")
    chosen.run("migrator", "grant.sql")
    return chosen


def exercise_all(caller: Caller, stranger: Caller) -> None:
    """Run every statement by calling the operations, and check that a stranger cannot reach the caller's task."""
    task = caller.create(title="x").json()
    kept = caller.request("POST", caller.tasks, json={"title": "y"}, headers={"Idempotency-Key": "k"})
    again = caller.request("POST", caller.tasks, json={"title": "y"}, headers={"Idempotency-Key": "k"})
    assert again.json() == kept.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert caller.get(task["id"]).json() == task
    assert {each["id"] for each in caller.list().json()} == {task["id"], kept.json()["id"]}
    for order in ("created_at", "-created_at", "updated_at", "-updated_at"):
        assert len(caller.request("GET", f"{caller.tasks}?sort={order}&limit=5").json()) == 2

    assert caller.update(task["id"], title="z").json()["title"] == "z"
    assert caller.complete(task["id"]).json()["completed"]
    path, tag = f"{caller.tasks}/{task['id']}", caller.get(task["id"]).headers["etag"]
    assert caller.request("PUT", path, json={"title": "v"}, headers={"If-Match": tag}).status_code == 200
    assert caller.request("PATCH", f"{path}/complete", headers={"If-Match": tag}).status_code == 412
    assert caller.request("DELETE", path, headers={"If-Match": tag}).status_code == 412

    assert [each.status_code for each in approach(stranger, task["id"])] == [404, 404, 404, 404]
    assert stranger.list().json() == []
    assert caller.get(task["id"]).json()["title"] == "v"
    assert caller.delete(task["id"]).status_code == 204
    assert [each["title"] for each in caller.list().json()] == ["y"]


def approach(caller: Caller, task: str) -> list[httpx.Response]:
    """All that one can try on one task, deleting it last."""
    return [caller.get(task), caller.update(task, title="mine"), caller.complete(task), caller.delete(task)]


def test_application_role_is_enough_for_every_operation(roles: Roles) -> None:
    with serving(database_url=roles.url("application")) as api:
        exercise_all(api.caller(), api.caller())
        until(lambda: api.anonymous.get("/readyz").status_code == 200)


class Writes(Visitor):
    """The columns of tasks that a statement gives a value when it inserts, and when it updates."""

    def __init__(self) -> None:
        self.inserts: set[str] = set()
        self.updates: set[str] = set()

    def visit_InsertStmt(self, _: Ancestor, node: Any) -> None:
        if node.relation.relname == "tasks":
            self.inserts |= {column.name for column in node.cols}
            self.updates |= {target.name for target in getattr(node.onConflictClause, "targetList", None) or ()}

    def visit_UpdateStmt(self, _: Ancestor, node: ast.UpdateStmt) -> None:
        self.updates |= {target.name for target in node.targetList or ()}


def test_application_role_may_write_the_columns_that_statements_write(roles: Roles) -> None:
    writes = Writes()
    for file in FOLDER.glob("*.sql"):
        writes(parse_sql(file.read_text()))

    allowed = roles.execute(
        "application",
        "select privilege_type, column_name from information_schema.column_privileges "
        "where table_name = 'tasks' and grantee = current_user and privilege_type in ('INSERT', 'UPDATE')",
    )

    assert set(allowed) == {("INSERT", name) for name in writes.inserts} | {("UPDATE", name) for name in writes.updates}


@pytest.mark.parametrize(
    "statement",
    [
        "update tasks set user_id = user_id",
        "update tasks set id = id",
        "update tasks set created_at = now()",
        "insert into tasks (user_id, title, created_at) values (gen_random_uuid(), 'x', now())",
        "truncate tasks",
        "drop table tasks",
        "alter table tasks add column mine int",
        "alter table tasks disable row level security",
        "create policy mine on tasks using (true)",
        "create index on tasks (title)",
        "create trigger mine after insert on tasks execute function suppress_redundant_updates_trigger()",
        "update users set id = id",
        "delete from users",
        "truncate users cascade",
        "select secret from users",
        "select from users where secret = ''",
        "insert into users (id, secret) values (gen_random_uuid(), 'x')",
        "select from secrets",
        "select migration_id from _yoyo_log",
        "select from _yoyo_version",
        "delete from _yoyo_migration",
        "update _yoyo_migration set migration_id = ''",
        "create table mine ()",
        "create temporary table mine ()",
        "create view mine as select from tasks",
        "create function mine() returns int language sql as 'select 1'",
        "create schema mine",
        "create role mine",
        "select pg_read_file('postgresql.conf')",
        "copy tasks to program 'true'",
    ],
)
def test_application_role_is_refused_other_rights(roles: Roles, statement: LiteralString) -> None:
    roles.execute("administrator", "alter table users add column secret text; create table secrets ()")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.execute("application", statement)


def test_application_role_may_not_become_the_owner(roles: Roles) -> None:
    for role in ("owner", "migrator", "reader"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            roles.execute("application", f'set role "{roles.names[role]}"')


def test_application_role_plans_each_statement_as_its_header_says(roles: Roles) -> None:
    assert roles.execute("application", "show plan_cache_mode") == [("force_generic_plan",)]


def test_application_role_has_deadlines_below_the_services_own(roles: Roles) -> None:
    deadlines = "select setting::float / 1000 from pg_settings where name in ('lock_timeout', 'statement_timeout')"
    defaults = read_settings({"DATABASE_URL": roles.database, "JWT_SECRET": SECRET})

    ((lock,), (statement,)) = roles.execute("application", f"{deadlines} order by name")

    assert 0 < lock < statement < defaults.statement_timeout
    for role in ("migrator", "application", "reader"):
        for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
            assert roles.execute(role, f"show {name}") != [("0",)], (role, name)


def test_application_role_is_refused_by_the_server_before_the_outcome_is_unknown(roles: Roles) -> None:
    name = roles.names["application"]
    roles.execute(
        "administrator", f"alter role \"{name}\" in database {name_of(roles.database)} set lock_timeout to '100ms'"
    )
    with serving(database_url=roles.url("application")) as api:
        ada = api.caller()
        ada.create(title="x")
        with locked(roles.database, "access exclusive"):
            refused = ada.create(title="y")

    assert refused.status_code == 503
    assert refused.json()["type"] == "about:blank"


def test_application_role_that_cannot_read_migrations_is_not_ready_and_says_why(
    roles: Roles, capfd: pytest.CaptureFixture[str]
) -> None:
    application = roles.names["application"]
    roles.execute("administrator", f'revoke select on _yoyo_migration from "{application}"')
    with serving(database_url=roles.url("application"), log_level="warning", probe_interval=0.02) as api:
        reason = "migrations cannot be read: permission denied for table _yoyo_migration (42501). Run roles/grant.sql"
        until(lambda: unready(api))
        time.sleep(0.1)  # several checks
        assert unready(api)[0].startswith(reason)
        roles.execute("administrator", f'grant select on _yoyo_migration to "{application}"')
        until(lambda: not unready(api))
    assert capfd.readouterr().out.count("migrations cannot be read: permission denied") == 1


SHADOW = "create schema shadow; create table shadow.tasks (); grant usage on schema shadow to public"


@pytest.mark.parametrize("role", ["migrator", "application", "reader"])
def test_role_finds_its_tables_in_one_schema_alone(roles: Roles, role: str) -> None:
    roles.execute("administrator", SHADOW)
    roles.execute(
        "administrator",
        "do $$ begin execute format('alter database %I set search_path to shadow, public', current_database()); end $$",
    )

    assert roles.execute("administrator", "select 'tasks'::regclass::oid = 'shadow.tasks'::regclass") == [(True,)]
    assert roles.execute(role, "select 'tasks'::regclass::oid = 'public.tasks'::regclass") == [(True,)]
    assert roles.execute(role, "show search_path") == [("public, pg_temp",)]


def test_reader_reads_tasks_and_changes_nothing(roles: Roles) -> None:
    with serving(database_url=roles.url("application")) as api:
        api.caller().create(title="x")
        api.caller().create(title="y")

    assert roles.execute("reader", "select title from tasks order by title") == [("x",), ("y",)]
    assert roles.execute("reader", "select count(*) from users") == [(2,)]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        roles.execute("reader", "delete from tasks")
    for statement in (
        "delete from tasks",
        "update tasks set title = ''",
        "insert into users values (gen_random_uuid())",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            roles.execute("reader", f"set transaction read write; {statement}")


def test_migrator_creates_tables_that_belong_to_the_owner(empty_database: str, names: dict[str, str]) -> None:
    roles = Roles(empty_database, names)
    roles.run("administrator", "create.sql")

    assert migrate(roles.url("migrator")) == list(bundled())
    roles.run("migrator", "grant.sql")

    owners = "select distinct tableowner from pg_tables where schemaname = 'public'"
    assert roles.execute("administrator", owners) == [(names["owner"],)]
    with serving(database_url=roles.url("application")) as api:
        exercise_all(api.caller(), api.caller())
    assert rollback(roles.url("migrator"), steps=len(bundled()))


def test_migrator_migrates_tables_that_are_older_than_the_roles(roles: Roles) -> None:
    with psycopg.connect(for_psycopg(roles.url("migrator"))) as connection:
        connection.execute("alter table tasks add column more int")

    assert rollback(roles.url("migrator"), steps=len(bundled())) == list(reversed(bundled()))


def test_roles_may_be_made_again_and_granted_again(roles: Roles) -> None:
    before = schema(roles.database)
    roles.execute("migrator", f'grant truncate on tasks to "{roles.names["application"]}"')

    roles.run("administrator", "create.sql")
    roles.run("migrator", "grant.sql")

    assert schema(roles.database) == before


def test_roles_do_not_change_the_users_of_another_service(empty_database: str, names: dict[str, str]) -> None:
    roles = Roles(empty_database, names)
    roles.execute("administrator", "create table users (id uuid primary key, email text not null)")
    roles.run("administrator", "create.sql")
    roles.execute("administrator", f'grant references on users to "{names["owner"]}"')
    migrate(roles.url("migrator"))
    roles.run("migrator", "grant.sql")

    with serving(database_url=roles.url("application")) as api:
        ada = api.caller()
        assert ada.create(title="x").status_code == 403
        roles.execute("administrator", f"insert into users values ('{ada.id}', 'ada@example.com')")
        assert ada.create(title="x").status_code == 201
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.execute("application", "select email from users")


def test_roles_need_no_superuser(postgres: Postgres, names: dict[str, str]) -> None:
    """On a hosted server, no role of the customer is a superuser."""
    host, name = f"test_{secrets.token_hex(3)}", f"test_{secrets.token_hex(3)}"
    hosted = {role: f"{host}_{role}" for role in names}
    postgres.execute(f"create role {{}} login createrole password '{PASSWORD}'", host)
    postgres.execute("create database {} owner {}", name, host)
    roles = Roles(postgres.url(name), hosted | {"host": host})
    try:
        roles.run("host", "create.sql")
        for role in ("migrator", "application"):
            roles.execute("host", f"alter role {hosted[role]} password '{PASSWORD}'")
        migrate(roles.url("migrator"))
        roles.run("migrator", "grant.sql")
        roles.secure()
        with serving(database_url=roles.url("application"), row_level_security=True) as api:
            exercise_all(api.caller(), api.caller())
    finally:
        postgres.execute("drop database {} with (force)", name)
        psql(postgres.url("postgres"), "drop.sql", hosted)
        postgres.execute("drop role {}", host)


# Row-level security


@pytest.fixture
def secured(roles: Roles) -> Roles:
    roles.secure()
    return roles


def test_row_level_security_can_be_set_up_again_after_a_rollback(secured: Roles) -> None:
    rollback(secured.url("migrator"), steps=len(bundled()))
    migrate(secured.url("migrator"))
    secured.run("migrator", "grant.sql")
    secured.secure()

    with serving(database_url=secured.url("application"), row_level_security=True) as api:
        exercise_all(api.caller(), api.caller())


def test_row_level_security_changes_no_operation(secured: Roles) -> None:
    with serving(database_url=secured.url("application"), row_level_security=True) as api:
        exercise_all(api.caller(), api.caller())
        until(lambda: api.anonymous.get("/readyz").status_code == 200)


def test_row_level_security_functions_find_their_tables_in_one_schema_alone(secured: Roles) -> None:
    functions = (
        "select proname, proconfig from pg_proc where proname like '%task%' and pronamespace = 'public'::regnamespace"
    )
    found = secured.execute("application", functions)

    assert found
    assert {tuple(settings or ()) for _, settings in found} == {("search_path=public, pg_temp",)}


def test_row_level_security_holds_without_prepared_statements(secured: Roles) -> None:
    settings = {"row_level_security": True, "prepared_statements": False}
    with serving(database_url=secured.url("application"), **settings) as api:
        exercise_all(api.caller(), api.caller())


def test_row_level_security_shows_nothing_to_a_session_without_a_user(secured: Roles) -> None:
    with serving(database_url=secured.url("application"), row_level_security=True) as api:
        ada = api.caller()
        ada.create(title="x")

    everything = "select title from tasks"
    assert secured.execute("application", everything) == []
    assert secured.execute("application", "delete from tasks returning id") == []
    assert secured.execute("reader", everything) == secured.execute("migrator", everything) == [("x",)]


@pytest.fixture
def unfiltered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ and roles/ in which no statement filters by user. The service runs these statements."""
    for part in ("sql", "roles"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for file in (tmp_path / "sql").glob("*.sql"):
        file.write_text(re.sub(r"(tasks\.)?user_id = \$1", "$1::uuid is not null", file.read_text()))
    monkeypatch.setattr("service.db.statements.FOLDER", tmp_path / "sql")
    return tmp_path


def test_row_level_security_protects_statements_without_their_filter(roles: Roles, unfiltered: Path) -> None:
    roles.run("migrator", "functions.sql", unfiltered)
    with serving(database_url=roles.url("application"), row_level_security=True) as api:
        ada, bob = api.caller(), api.caller()
        task = ada.create(title="x").json()["id"]
        assert bob.list().json() != []
        assert [answer.status_code for answer in approach(bob, task)] == [200, 200, 200, 204]

        roles.run("migrator", "row-level-security.sql")
        exercise_all(ada, bob)


def test_row_level_security_separates_the_reads_of_a_batch(
    roles: Roles, unfiltered: Path, rows: Callable[..., list[Any]]
) -> None:
    roles.run("migrator", "functions.sql", unfiltered)
    roles.run("migrator", "row-level-security.sql")
    with (
        serving(database_url=roles.url("application"), row_level_security=True) as api,
        ThreadPoolExecutor(20) as crowd,
    ):
        callers = [api.caller() for _ in range(20)]
        tasks = [caller.create(title=caller.id).json()["id"] for caller in callers]
        with locked(roles.database, "access exclusive"):
            lists = [crowd.submit(caller.list) for caller in callers]
            until(lambda: len(rows(BLOCKED)) > 1)  # the first read goes alone, the next ones in a batch
        gets = list(crowd.map(lambda caller: [caller.get(task).status_code for task in tasks], callers))

    assert [[task["title"] for task in each.result().json()] for each in lists] == [[caller.id] for caller in callers]
    assert gets == [[200 if owner is caller else 404 for owner in callers] for caller in callers]


def test_row_level_security_rollback_restores_the_schema(roles: Roles) -> None:
    before = schema(roles.database)
    roles.secure()
    roles.secure()

    roles.run("migrator", "row-level-security.rollback.sql")
    with serving(database_url=roles.url("application")) as api:
        exercise_all(api.caller(), api.caller())
    roles.run("migrator", "functions.rollback.sql")

    assert schema(roles.database) == before


def test_service_without_the_functions_of_its_statements_is_not_ready(roles: Roles) -> None:
    with serving(database_url=roles.url("application"), row_level_security=True) as api:
        assert api.anonymous.get("/readyz").status_code == 503
        assert api.caller().list().status_code == 503

        roles.run("migrator", "functions.sql")
        until(lambda: api.anonymous.get("/readyz").status_code == 200)


def test_drop_of_the_roles_keeps_the_tasks(secured: Roles) -> None:
    with serving(database_url=secured.url("application"), row_level_security=True) as api:
        ada = api.caller()
        ada.create(title="x")

    secured.run("administrator", "drop.sql")

    with serving(database_url=secured.database) as api:
        assert len(api.caller(UUID(ada.id)).list().json()) == 1
