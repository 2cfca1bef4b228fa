"""The constraints of the schema: what they refuse, and that they refuse nothing that the API accepts."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from service.db.url import for_psycopg

Connection = psycopg.Connection[Any]

CREATE = "insert into tasks (user_id, title) values (%s, %s) returning id"


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(for_psycopg(database), autocommit=True) as connection:
        yield connection


@pytest.fixture
def user_id(connection: Connection) -> UUID:
    user_id = uuid4()
    connection.execute("insert into users (id) values (%s)", [user_id])
    return user_id


def test_task_of_an_unknown_user_is_refused(connection: Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation) as refusal:
        connection.execute(CREATE, [uuid4(), "Buy milk"])

    assert refusal.value.diag.constraint_name == "task_belongs_to_user"


def test_task_with_the_id_of_another_of_its_user_is_refused(connection: Connection, user_id: UUID) -> None:
    with pytest.raises(errors.UniqueViolation) as refusal:
        connection.execute(
            "insert into tasks (id, user_id, title) select %s, %s, 'Buy milk' from generate_series(1, 2)",
            [uuid4(), user_id],
        )

    assert refusal.value.diag.constraint_name == "tasks_by_id"


@pytest.mark.parametrize("title", ["a" * 501, "𝄞" * 501])
def test_title_that_is_too_long_is_refused(connection: Connection, user_id: UUID, title: str) -> None:
    with pytest.raises(errors.CheckViolation) as refusal:
        connection.execute(CREATE, [user_id, title])

    assert refusal.value.diag.constraint_name == "task_title_length"


@pytest.mark.parametrize(
    "title", ["", " ", " " * 500, *(chr(code) * 2 for code in range(1, 128) if not chr(code).strip())]
)
def test_blank_title_is_refused(connection: Connection, user_id: UUID, title: str) -> None:
    with pytest.raises(errors.CheckViolation) as refusal:
        connection.execute(CREATE, [user_id, title])

    assert refusal.value.diag.constraint_name == "task_title_not_blank"


def test_title_that_the_api_accepts_is_accepted(connection: Connection, user_id: UUID) -> None:
    titles = [chr(code) for code in range(1, 0x3100) if chr(code).strip()] + ["a" * 500, "𝄞" * 500, " a ", "\u200b"]

    with connection.cursor() as cursor:
        cursor.executemany(CREATE, [(user_id, title) for title in titles])
    (count,) = connection.execute("select count(*) from tasks").fetchone() or (0,)

    assert count == len(titles)


@pytest.mark.parametrize("column", ["id", "user_id", "title", "completed", "created_at", "updated_at", "version"])
def test_null_is_refused(connection: Connection, user_id: UUID, column: str) -> None:
    connection.execute(CREATE, [user_id, "Buy milk"])

    with pytest.raises(errors.NotNullViolation):
        connection.execute(f"update tasks set {column} = null".encode())


@pytest.mark.parametrize("column", ["created_at", "updated_at"])
@pytest.mark.parametrize("time", ["infinity", "-infinity", "10000-01-01 00:00:00+00", "0001-01-01 00:00:00+00 BC"])
def test_time_that_no_client_can_hold_is_refused(connection: Connection, user_id: UUID, column: str, time: str) -> None:
    connection.execute(CREATE, [user_id, "Buy milk"])

    with pytest.raises(errors.CheckViolation) as refusal:
        connection.execute(f"update tasks set {column} = '{time}'".encode())

    assert refusal.value.diag.constraint_name == "task_times_have_four_digit_years"


def test_user_with_tasks_cannot_be_deleted(connection: Connection, user_id: UUID) -> None:
    connection.execute(CREATE, [user_id, "Buy milk"])

    with pytest.raises(errors.ForeignKeyViolation):
        connection.execute("delete from users")

    connection.execute("delete from tasks")
    connection.execute("delete from users")


def test_task_is_filled_in_by_default(connection: Connection, user_id: UUID) -> None:
    connection.execute(CREATE, [user_id, "Buy milk"])

    row = connection.execute(
        "select description, completed, created_at = updated_at, now() - created_at < '1 minute', version from tasks"
    ).fetchone()

    assert row == (None, False, True, True, 1)
