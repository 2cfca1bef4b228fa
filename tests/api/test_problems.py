"""Problem documents and the error table: what a caller receives, and the log line, for each error."""

import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from service.api import problems as errors
from service.api.exceptions import CONSTRAINTS, problem_for
from service.api.payloads import problem_response
from service.api.problems import (
    INVALID,
    RULE_VIOLATED,
    STORAGE_FULL,
    UNAVAILABLE,
    UNEXPECTED,
    UNKNOWN_USER,
    FieldError,
    Problem,
    ProblemType,
)
from service.db.errors import ConnectionLost
from service.db.migrations import migrate
from service.db.url import for_asyncpg
from tests.conftest import Postgres
from tests.serving import Caller, serving

Rows = Callable[..., list[Any]]

PROBLEM_TYPES = {
    name: problem_type for name, problem_type in vars(errors).items() if isinstance(problem_type, ProblemType)
}

TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""RFC 9110's, where Python below 3.13 has those of its forerunners."""

LIMIT = 1_048_576

# the problem documents


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES.values(), ids=PROBLEM_TYPES)
def test_problem_document_has_the_members_of_rfc_9457(problem_type: ProblemType) -> None:
    response = problem_response(Problem(problem_type))

    assert response.status == problem_type.status
    assert dict(response.headers)[b"content-type"] == b"application/problem+json"
    assert json.loads(response.body) == {
        "type": problem_type.uri,
        "title": TITLES.get(problem_type.status, HTTPStatus(problem_type.status).phrase),
        "status": problem_type.status,
        "detail": problem_type.detail,
    }
    assert problem_type.uri == "about:blank" or problem_type.uri.startswith("urn:problem:")


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES.values(), ids=PROBLEM_TYPES)
def test_problem_document_has_a_sentence_to_show(problem_type: ProblemType) -> None:
    assert problem_type.detail[0].isupper()
    assert problem_type.detail[-1] == "."


@pytest.mark.parametrize("problem_type", PROBLEM_TYPES.values(), ids=PROBLEM_TYPES)
def test_problem_has_the_headers_of_its_status(problem_type: ProblemType) -> None:
    headers = dict(problem_response(Problem(problem_type)).headers)

    assert headers.get(b"www-authenticate", b"").startswith(b"Bearer") is (problem_type.status == 401)
    assert (int(headers.get(b"retry-after", b"0")) > 0) is (problem_type.status == 503)


def test_problem_document_joins_the_errors_in_its_detail() -> None:
    errors_of_fields = (
        FieldError(["body", "title"], "The title is blank.", "pattern"),
        FieldError(["path", "id"], "The id is not a UUID.", "uuid"),
    )
    document = json.loads(Problem(INVALID, errors_of_fields).document())

    assert document["detail"] == "The title is blank. The id is not a UUID."
    assert document["errors"] == [
        {"loc": ["body", "title"], "msg": "The title is blank.", "type": "pattern"},
        {"loc": ["path", "id"], "msg": "The id is not a UUID.", "type": "uuid"},
    ]


# the error table


@pytest.mark.parametrize(
    ("sqlstate", "problem_type"),
    [
        ("08006", UNAVAILABLE),
        ("0A000", UNAVAILABLE),
        ("22001", INVALID),
        ("22021", INVALID),
        ("22P05", INVALID),
        ("25006", UNAVAILABLE),
        ("28P01", UNAVAILABLE),
        ("3D000", UNAVAILABLE),
        ("40001", UNAVAILABLE),
        ("40P01", UNAVAILABLE),
        ("42501", UNAVAILABLE),
        ("42703", UNAVAILABLE),
        ("42P01", UNAVAILABLE),
        ("53100", STORAGE_FULL),
        ("53200", UNAVAILABLE),
        ("53300", UNAVAILABLE),
        ("55P03", UNAVAILABLE),
        ("57014", UNAVAILABLE),
        ("57P01", UNAVAILABLE),
        ("57P03", UNAVAILABLE),
        ("58030", UNAVAILABLE),
        ("XX000", UNAVAILABLE),
        ("22003", INVALID),
        ("22012", INVALID),
        ("23502", RULE_VIOLATED),
        ("23503", UNKNOWN_USER),  # without a constraint's name, as a distributed database reports it
        ("23505", RULE_VIOLATED),
        ("23514", RULE_VIOLATED),
        ("23P01", RULE_VIOLATED),
        ("42601", UNEXPECTED),
        ("42804", UNAVAILABLE),
        ("42P10", UNAVAILABLE),
        ("55000", UNAVAILABLE),
        ("P0001", RULE_VIOLATED),
        ("99999", UNEXPECTED),
    ],
)
def test_problem_for_sqlstate(sqlstate: str, problem_type: ProblemType) -> None:
    error = asyncpg.PostgresError.new({"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": "whatever"})

    assert error.sqlstate == sqlstate
    assert problem_for(error).type is problem_type


@pytest.mark.parametrize(
    ("error", "problem_type"),
    [
        (TimeoutError(), UNAVAILABLE),
        (ConnectionResetError(), UNAVAILABLE),
        (ConnectionLost(), UNAVAILABLE),
        (KeyError("title"), UNEXPECTED),
        (RecursionError(), UNEXPECTED),
        (asyncpg.DataError("invalid input for query argument $1: 'hunter2'"), INVALID),
    ],
)
def test_problem_for_exception(error: Exception, problem_type: ProblemType) -> None:
    assert problem_for(error).type is problem_type


async def test_problem_for_each_constraint(database: str, rows: Rows) -> None:
    named = rows("""
        select conname from pg_constraint
        where contype in ('c', 'f') and (conrelid = 'tasks'::regclass or contypid = 'task_time'::regtype)
    """)
    assert {name for (name,) in named} == CONSTRAINTS.keys(), (
        "CONSTRAINTS in service/api/exceptions.py must have each constraint of tasks, and no other name"
    )

    user_id = uuid4()
    rows("insert into users values (%s)", user_id)
    connection = await asyncpg.connect(for_asyncpg(database))
    for values, problem_type in {
        (user_id, "x" * 501): INVALID,
        (user_id, " "): INVALID,
        (uuid4(), "x"): UNKNOWN_USER,
    }.items():
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await connection.execute("insert into tasks (user_id, title) values ($1, $2)", *values)
        assert problem_for(refused.value).type is problem_type
    await connection.close()


def test_text_that_the_database_cannot_store_is_422(postgres: Postgres) -> None:
    postgres.execute("create database {} encoding 'LATIN1' locale 'C' template template0", "test_latin1")
    migrate(postgres.url("test_latin1"))
    with serving(database_url=postgres.url("test_latin1")) as api:
        ada = api.caller()
        kept, refused = ada.create(title="é"), ada.create(title="漢")
        tasks = ada.list().json()
    postgres.execute("drop database {} with (force)", "test_latin1")

    assert kept.json()["title"] == "é"
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"loc": ["body"], "msg": "The text has a character that cannot be stored.", "type": "storage"}
    ]
    assert tasks == [kept.json()]


# a bug

FAIL = """
    create function fail() returns trigger language plpgsql as $$
    begin
        raise exception using
            errcode = '99999', message = 'cannot keep ' || new.title, detail = new.description, hint = 'hunter2';
    end
    $$;
    create trigger fail before insert on tasks for each row execute function fail();
"""


def test_bug_shows_nothing_of_its_cause(ada: Caller, rows: Rows) -> None:
    rows(FAIL)

    response = ada.create(title="hunter2", description="hunter2")

    assert response.status_code == 500
    assert response.content == Problem(UNEXPECTED).document()
    assert ada.list().json() == []


def test_column_of_another_type_is_503(ada: Caller, rows: Rows) -> None:
    task_id = ada.create(title="x").json()["id"]
    rows("alter table tasks alter completed drop default, alter completed type text")

    assert ada.complete(task_id).status_code == 503


def test_dropped_column_is_503(ada: Caller, rows: Rows) -> None:
    """As it is while a release meets a schema that is older or newer than it can run on."""
    task_id = ada.create(title="x").json()["id"]
    rows("alter table tasks rename column title to name")

    for response in (ada.list(), ada.get(task_id), ada.create(title="x"), ada.update(task_id, title="y")):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.content == Problem(UNAVAILABLE).document()


# the body


def pieces(size: int) -> Iterator[bytes]:
    """A task in `size` bytes, which httpx then sends in chunks."""
    yield b'{"title": "x"'
    yield from (b" " * 1000 for _ in range((size - 14) // 1000))
    yield b" " * ((size - 14) % 1000)
    yield b"}"


@pytest.mark.parametrize("limit", [1024, LIMIT])
def test_body_over_the_limit_is_413(database: str, limit: int) -> None:
    with serving(database_url=database, max_body_bytes=limit) as api:
        ada = api.caller()
        task = ada.create(title="x").json()
        for method, path in (("POST", ada.tasks), ("PUT", f"{ada.tasks}/{task['id']}")):
            for content in (b"".join(pieces(limit + 1)), pieces(limit + 1), pieces(limit * 2)):
                response = ada.request(method, path, content=content)

                assert response.status_code == 413
                assert response.json()["detail"] == "The body is too large."
        assert ada.list().json() == [task]


@pytest.mark.parametrize("limit", [1024, LIMIT])
def test_body_at_the_limit_is_accepted(database: str, limit: int) -> None:
    with serving(database_url=database, max_body_bytes=limit) as api:
        ada = api.caller()
        for content in (b"".join(pieces(limit)), pieces(limit)):
            assert ada.request("POST", ada.tasks, content=content).status_code == 201


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity, gzip", "*"])
def test_body_that_is_encoded_is_415(ada: Caller, encoding: str) -> None:
    response = ada.request("POST", ada.tasks, json={"title": "x"}, headers={"Content-Encoding": encoding})

    assert response.status_code == 415
    assert response.json()["detail"] == "Send the body without a Content-Encoding."
    assert ada.list().json() == []


@pytest.mark.parametrize("encoding", ["identity", "Identity"])
def test_body_of_identity_encoding_is_accepted(ada: Caller, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}

    assert ada.request("POST", ada.tasks, json={"title": "x"}, headers=headers).status_code == 201
