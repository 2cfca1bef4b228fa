"""The six operations over HTTP, one block for each operation."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from service.tasks.types import Task
from tests.serving import Api, Caller, serving

MEMBERS = ["id", "user_id", "title", "description", "completed", "created_at", "updated_at"]


def errors(response: Any) -> dict[str, str]:
    """The places that a 422 names."""
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert isinstance(document["detail"], str)
    assert document["detail"]
    return {".".join(error["loc"]): error["type"] for error in document["errors"]}


def assert_types(content: bytes, type: Any) -> None:
    """Assert that each value has the type of its field in Task."""
    try:
        msgspec.json.decode(content, type=type)
    except msgspec.ValidationError as error:
        pytest.fail(f"{error}: encode_task() and encode_tasks() in service/tasks/types.py must convert this column")


# create_task


def test_create_task_answers_201_with_the_task_and_its_location(ada: Caller) -> None:
    response = ada.create(title="Buy milk", description="Two litres")

    task = response.json()
    assert response.status_code == 201
    assert list(task) == MEMBERS, "MEMBERS must be the fields of Task in service/tasks/types.py, in their order"
    assert None not in task.values(), "create the task with a value for each member, so that each type is compared"
    assert_types(response.content, Task)
    assert_types(ada.list().content, list[Task])
    assert response.headers["location"] == f"{ada.tasks}/{task['id']}"
    assert ada.get(task["id"]).json() == task
    assert (task["user_id"], task["title"], task["description"], task["completed"]) == (
        ada.id,
        "Buy milk",
        "Two litres",
        False,
    )


def test_create_task_makes_a_version_4_id(ada: Caller) -> None:
    assert UUID(ada.create(title="x").json()["id"]).version == 4


def test_create_task_sets_the_current_time_in_utc(ada: Caller) -> None:
    task = ada.create(title="x").json()

    assert task["created_at"] == task["updated_at"]
    assert task["created_at"].endswith("Z")
    assert abs(datetime.fromisoformat(task["created_at"]) - datetime.now(UTC)) < timedelta(seconds=1)


def test_create_task_ignores_ids_timestamps_and_unknown_members(ada: Caller, bob: Caller) -> None:
    given = {"id": str(uuid4()), "user_id": bob.id, "created_at": "1999-01-01T00:00:00Z", "scheduled_date": "x"}

    task = ada.create(title="x", **given, updated_at=7, __proto__={}).json()

    assert task["id"] != given["id"]
    assert task["user_id"] == ada.id
    assert task["created_at"] > "2000"
    assert bob.list().json() == []


def test_create_task_may_be_completed_at_once(ada: Caller) -> None:
    assert ada.create(title="x", completed=True).json()["completed"] is True


@pytest.mark.parametrize(
    "description", [None, "", "two\nlines", "<script>", "'; drop table tasks; --", "\u202eabc", "漢" * 9000]
)
def test_create_task_keeps_the_description_as_it_is(ada: Caller, description: str | None) -> None:
    task = ada.create(title="x", description=description).json()

    assert task["description"] == description
    assert ada.get(task["id"]).json()["description"] == description


@pytest.mark.parametrize(
    "title", ["x", "x" * 500, "😀" * 500, "e\u0301", " padded ", "a\u200bb", 'Über "quotes" 漢字', "{{7*7}}"]
)
def test_create_task_keeps_the_title_as_it_is(ada: Caller, title: str) -> None:
    assert ada.create(title=title).json()["title"] == title


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body.title"),
        ({"description": "d"}, "body.title"),
        ({"title": None}, "body.title"),
        ({"title": 1}, "body.title"),
        ({"title": ["x"]}, "body.title"),
        ({"title": ""}, "body.title"),
        ({"title": "   "}, "body.title"),
        ({"title": "\u3000\t\n"}, "body.title"),
        ({"title": "x" * 501}, "body.title"),
        ({"title": "😀" * 501}, "body.title"),
        ({"title": "a\x00b"}, "body.title"),
        ({"title": "x", "description": "a\x00b"}, "body.description"),
        ({"title": "x", "description": 5}, "body.description"),
        ({"title": "x", "completed": "yes"}, "body.completed"),
        ([], "body"),
        ("x", "body"),
        (None, "body"),
        (7, "body"),
    ],
)
def test_create_task_names_the_error_and_saves_nothing(ada: Caller, body: Any, place: str) -> None:
    response = ada.request("POST", ada.tasks, json=body)

    assert set(errors(response)) == {place}
    assert ada.list().json() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"title": "x"',
        b'{"title": "x"} {"title": "y"}',
        b'{"title": "x",}',
        b'{"title": NaN}',
        '{"title": "x"}'.encode("utf-16"),
        b'{"title": "\xff"}',
        b'{"title": "\xc0\xaf"}',
        b'{"title": "\\ud800"}',
        b'{"title": "\\udc00\\ud800"}',
        b'{"title": "a\x01b"}',
        b'{"title": "x", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"title": "x", "more": ' + b"[" * 100_000,
        b'{"title": ' + b"9" * 100_000 + b"}",
        b'{"' + b"k" * 500_000 + b'": 1}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_create_task_refuses_malformed_json(ada: Caller, body: bytes) -> None:
    response = ada.request("POST", ada.tasks, content=body)

    assert set(errors(response)) <= {"body", "body.title"}
    assert len(response.text) < 500
    assert ada.list().json() == []


def test_create_task_skips_a_byte_order_mark(ada: Caller) -> None:
    assert ada.request("POST", ada.tasks, content=b'\xef\xbb\xbf{"title": "x"}').json()["title"] == "x"


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "a\\ud83dz", "\\ude00\\ud83d"])
@pytest.mark.parametrize("member", ["title", "description"])
def test_create_task_names_half_a_surrogate_pair(ada: Caller, member: str, half: str) -> None:
    body = json.dumps({"title": "x", member: "HALF"}).replace("HALF", half)

    assert errors(ada.request("POST", ada.tasks, content=body)) == {f"body.{member}": "surrogate"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "member",
    [
        r'"other": "\ud83d"',
        r'"other": {"title": "\ud83d"}',
        r'"other": ["\ud83d"]',
        r'"\ud83d": "\ud83d"',
        r'"completed": "\ud83d"',
        r'"title.surrogate": "\ud83d"',
    ],
)
def test_body_with_half_a_surrogate_pair_in_another_place_is_invalid(ada: Caller, method: str, member: str) -> None:
    task = f"{ada.tasks}/{ada.create(title='x').json()['id']}"
    path = {"POST": ada.tasks, "PUT": task, "PATCH": f"{task}/complete"}[method]
    body = f'{{"title": "y", {member}}}'

    assert errors(ada.request(method, path, content=body)) == {"body": "json_invalid"}
    assert [each["title"] for each in ada.list().json()] == ["x"]


def test_create_task_takes_the_last_of_duplicate_members(ada: Caller) -> None:
    assert ada.request("POST", ada.tasks, content=b'{"title": "x", "title": "y"}').json()["title"] == "y"
    assert set(errors(ada.request("POST", ada.tasks, content=b'{"title": "x", "title": ""}'))) == {"body.title"}


def test_create_task_needs_no_content_type(ada: Caller) -> None:
    for content_type in ("text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": content_type}
        assert ada.request("POST", ada.tasks, content=b'{"title": "x"}', headers=headers).status_code == 201


def test_create_task_of_a_new_user_at_once_makes_every_task(
    api: Api, ada: Caller, rows: Callable[..., list[Any]]
) -> None:
    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(lambda n: ada.create(title=f"task {n}").status_code, range(200)))

    assert statuses == [201] * 200
    assert len(ada.list().json()) == 200
    assert rows("select count(*) from users where id = %s", ada.id) == [(1,)]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_create_task_of_an_unknown_user_is_forbidden_where_users_are_not_made(
    database: str, headers: dict[str, str]
) -> None:
    with serving(database_url=database, provision_users=False) as api:
        ada = api.caller()
        response = ada.request("POST", ada.tasks, json={"title": "x"}, headers=headers)

        assert response.status_code == 403
        assert response.json()["detail"] == "This user has not been registered here."
        assert ada.list().json() == []


def test_create_task_of_an_unknown_user_is_forbidden_where_users_have_more_than_an_id(
    api: Api, ada: Caller, rows: Callable[..., list[Any]]
) -> None:
    rows("alter table users add column email text not null")

    assert ada.create(title="x").status_code == 403
    assert ada.request("POST", ada.tasks, json={"title": "x"}, headers={"Idempotency-Key": "k"}).status_code == 403


# list_tasks


def test_list_tasks_of_a_new_user_is_empty(ada: Caller) -> None:
    response = ada.list()

    assert (response.status_code, response.json()) == (200, [])
    assert response.headers["content-type"] == "application/json"


def test_list_tasks_is_a_bare_array_newest_first(ada: Caller) -> None:
    made = [ada.create(title=f"task {n}").json() for n in range(5)]

    assert ada.list().json() == made[::-1]


def test_list_tasks_breaks_ties_by_id(ada: Caller, rows: Callable[..., list[Any]]) -> None:
    for n in range(10):
        ada.create(title=f"task {n}")
    rows("update tasks set created_at = '2026-01-01Z'")

    ids = [task["id"] for task in ada.list().json()]

    assert ids == sorted(ids, reverse=True)


def test_list_tasks_shows_each_user_their_own(ada: Caller, bob: Caller) -> None:
    for n in range(5):
        ada.create(title=f"ada {n}")
    for n in range(3):
        bob.create(title=f"bob {n}")

    assert [task["title"] for task in ada.list().json()] == [f"ada {n}" for n in (4, 3, 2, 1, 0)]
    assert [task["title"] for task in bob.list().json()] == [f"bob {n}" for n in (2, 1, 0)]


@pytest.mark.parametrize("count", [499, 500, 501, 1000, 1001, 2345])
def test_list_tasks_of_many_pages_is_one_array(ada: Caller, rows: Callable[..., list[Any]], count: int) -> None:
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, created_at)
        select %s, 'task ' || n, now() + (n / 3) * interval '1 second' from generate_series(2, %s) as n""",
        ada.id,
        count,
    )

    tasks = ada.list().json()

    assert [task["id"] for task in tasks] == [
        str(id) for (id,) in rows("select id from tasks order by created_at desc, id desc")
    ]
    assert list(tasks[-1]) == MEMBERS


# get_task


def test_get_task_twice_is_the_same(ada: Caller) -> None:
    task_id = ada.create(title="x").json()["id"]

    assert ada.get(task_id).content == ada.get(task_id).content


def test_get_task_takes_ids_in_any_case(ada: Caller) -> None:
    task = ada.create(title="x").json()

    upper = ada.request("GET", f"/api/{ada.id.upper()}/tasks/{task['id'].upper()}")

    assert upper.json() == task


@pytest.mark.parametrize("column", ["created_at", "updated_at"])
@pytest.mark.parametrize("time", ["2026-01-02 03:04:05Z", "2026-01-02 03:04:05.1Z", "0001-01-01 00:00:00Z"])
def test_get_task_and_list_tasks_have_timestamps_of_six_digits(
    ada: Caller, rows: Callable[..., list[Any]], column: str, time: str
) -> None:
    task = ada.create(title="x").json()
    ada.create(title="long", description="y" * 5000)
    rows("update tasks set created_at = %s" if column == "created_at" else "update tasks set updated_at = %s", time)

    texts = [ada.get(task["id"]).json()[column], *(listed[column] for listed in ada.list().json())]

    expected = time.replace(" ", "T").removesuffix("Z").ljust(20, ".").ljust(26, "0") + "Z"
    assert texts == [expected] * 3


@pytest.mark.parametrize("years", [(1, 9999), (1833, 1835), (1834, 2106), (2104, 2108), (2000, 2027)])
def test_get_task_and_list_tasks_have_the_timestamps_that_are_stored(
    ada: Caller, rows: Callable[..., list[Any]], years: tuple[int, int]
) -> None:
    ada.create(title="for the user's own row")
    rows("delete from tasks")
    first, last = (f"{year:04}-01-02 00:00:00+00" for year in years)
    rows(
        """insert into tasks (user_id, title, created_at, updated_at)
        select %s, 'x', start + random() * (%s::timestamptz - start), start + random() * (%s::timestamptz - start)
        from generate_series(1, 300), (select %s::timestamptz) as first (start)""",
        *(ada.id, last, last, first),
    )
    form = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    stored = rows(
        """select id::text, to_char(created_at at time zone 'UTC', %s), to_char(updated_at at time zone 'UTC', %s)
        from tasks""",
        *(form, form),
    )

    shown = [(task["id"], task["created_at"], task["updated_at"]) for task in ada.list().json()]

    assert sorted(shown) == sorted(stored)
    for id, created_at, updated_at in stored[:20]:
        task = ada.get(id).json()
        assert (task["created_at"], task["updated_at"]) == (created_at, updated_at)


# update_task


def test_update_task_changes_only_the_texts_and_updated_at(ada: Caller) -> None:
    task = ada.create(title="x", description="d", completed=True).json()

    response = ada.update(task["id"], title="y", description="e")

    changed = response.json()
    assert response.status_code == 200
    assert changed == task | {"title": "y", "description": "e", "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > task["updated_at"]
    assert ada.get(task["id"]).json() == changed


def test_update_task_keeps_absent_members(ada: Caller) -> None:
    task_id = ada.create(title="x", description="d").json()["id"]

    assert ada.update(task_id, title="y").json()["description"] == "d"
    assert ada.update(task_id, description="e").json()["title"] == "y"


def test_update_task_clears_the_description_by_null(ada: Caller) -> None:
    task_id = ada.create(title="x", description="d").json()["id"]

    assert ada.update(task_id, description=None).json()["description"] is None
    assert ada.update(task_id, description="").json()["description"] == ""


def test_update_task_never_touches_completed_or_ids(ada: Caller, bob: Caller) -> None:
    task = ada.create(title="x", completed=True).json()
    sent = task | {"title": "y", "completed": False, "user_id": bob.id, "created_at": "1999-01-01T00:00:00Z"}

    changed = ada.update(task["id"], **sent).json()

    assert changed == task | {"title": "y", "updated_at": changed["updated_at"]}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body"),
        ({"completed": True}, "body"),
        ({"title": None}, "body.title"),
        ({"title": " "}, "body.title"),
        ({"title": "x" * 501}, "body.title"),
        ({"title": "y", "description": "\x00"}, "body.description"),
        ([], "body"),
    ],
)
def test_update_task_names_the_error_and_changes_nothing(ada: Caller, body: Any, place: str) -> None:
    task = ada.create(title="x").json()

    response = ada.request("PUT", f"{ada.tasks}/{task['id']}", json=body)

    assert set(errors(response)) == {place}
    assert ada.get(task["id"]).json() == task


# complete_task


def test_complete_task_without_a_body_flips(ada: Caller) -> None:
    task = ada.create(title="x", description="d").json()

    for completed in (True, False, True):
        answer = ada.complete(task["id"]).json()
        assert answer == task | {"completed": completed, "updated_at": answer["updated_at"]}


def test_complete_task_with_a_body_sets(ada: Caller) -> None:
    task_id = ada.create(title="x").json()["id"]

    for completed in (True, True, False, False):
        assert ada.complete(task_id, json={"completed": completed}).json()["completed"] is completed


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b" { \r\n\t} \n"])
def test_complete_task_with_an_empty_body_flips(ada: Caller, body: bytes) -> None:
    task_id = ada.create(title="x").json()["id"]

    response = ada.complete(task_id, headers={"Content-Type": "application/json"}, content=body)

    assert response.json()["completed"] is True


def test_complete_task_that_flips_refuses_an_idempotency_key(ada: Caller) -> None:
    task = ada.create(title="x").json()
    key = {"Idempotency-Key": "k"}

    for headers in (key, key | {"If-Match": "*"}):
        assert errors(ada.complete(task["id"], headers=headers)) == {"header.Idempotency-Key": "flip"}
    assert ada.get(task["id"]).json() == task


def test_complete_task_with_an_idempotency_key_sets_or_flips_one_version(ada: Caller) -> None:
    task_id = ada.create(title="x").json()["id"]
    key = {"Idempotency-Key": "k"}

    statuses = [ada.complete(task_id, headers=key | {"If-Match": '"1"'}).status_code for _ in range(2)]
    completed = [ada.complete(task_id, headers=key, json={"completed": False}).json()["completed"] for _ in range(2)]

    assert statuses == [200, 412]
    assert completed == [False, False]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"done": True}, "body.completed"),
        ({"completed": None}, "body.completed"),
        ({"completed": 1}, "body.completed"),
        ([], "body"),
        (True, "body"),
    ],
)
def test_complete_task_names_the_error_and_changes_nothing(ada: Caller, body: Any, place: str) -> None:
    task = ada.create(title="x").json()

    assert set(errors(ada.complete(task["id"], json=body))) == {place}
    assert ada.get(task["id"]).json() == task


def test_complete_task_101_times_at_once_ends_completed(ada: Caller, rows: Callable[..., list[Any]]) -> None:
    task = ada.create(title="x").json()

    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda _: ada.complete(task["id"]), range(101)))

    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["completed"] for answer in answers) == 51
    assert len({answer.json()["updated_at"] for answer in answers}) == 101
    assert ada.get(task["id"]).json()["completed"] is True
    assert rows("select version from tasks") == [(102,)]


# delete_task


def test_delete_task_answers_204_and_then_404(ada: Caller) -> None:
    kept, gone = ada.create(title="kept").json(), ada.create(title="gone").json()

    response = ada.delete(gone["id"])

    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    assert ada.delete(gone["id"]).status_code == 404
    assert ada.get(gone["id"]).status_code == 404
    assert ada.list().json() == [kept]
