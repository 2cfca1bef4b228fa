"""Safe retries: one key of one user makes one task, however often and however concurrently it is sent."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.serving import Caller


def create(caller: Caller, key: str, **members: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return caller.request("POST", caller.tasks, json={"title": "x"} | members, headers=headers)


def test_create_task_with_a_key_is_made_once_and_then_replayed(ada: Caller) -> None:
    first, second = create(ada, "k"), create(ada, "k")

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert first.headers["location"] == second.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert len(ada.list().json()) == 1


def test_create_task_with_a_key_50_times_at_once_makes_one_task(ada: Caller, rows: Callable[..., list[Any]]) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: create(ada, "k"), range(50)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert rows("select count(*) from tasks") == [(1,)]
    assert len({answer.headers["etag"] for answer in answers}) == 1


def test_create_task_with_a_key_replays_the_task_as_it_is_now(ada: Caller) -> None:
    task_id = create(ada, "k").json()["id"]
    changed = ada.update(task_id, title="y")

    replayed = create(ada, "k")

    assert replayed.json() == changed.json()
    assert replayed.headers["etag"] == changed.headers["etag"]


@pytest.mark.parametrize("other", [{"title": "y"}, {"description": "d"}, {"completed": True}])
def test_create_task_with_a_key_of_another_task_is_422(ada: Caller, other: dict[str, Any]) -> None:
    task = create(ada, "k").json()

    response = create(ada, "k", **other)

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert ada.list().json() == [task]


def test_create_task_with_the_same_meaning_in_other_bytes_is_the_same(ada: Caller) -> None:
    create(ada, "k", description=None)

    assert "idempotent-replayed" in create(ada, "k", completed=False, unknown=1).headers


def test_fingerprint_of_a_body_is_that_of_earlier_releases(ada: Caller, rows: Callable[..., list[Any]]) -> None:
    create(ada, "k")

    assert rows("select fingerprint from tasks") == [(-4686114527696077084,)], (
        "create_task in service/tasks/handlers.py must add a new member to the fingerprint only where a body has it: "
        "otherwise a retry after an upgrade is 422"
    )


def test_create_task_with_another_users_key_is_independent(ada: Caller, bob: Caller) -> None:
    assert create(ada, "k").json()["id"] != create(bob, "k", title="y").json()["id"]
    assert len(ada.list().json()) == len(bob.list().json()) == 1


def test_create_task_with_the_key_of_a_deleted_task_makes_it_anew(ada: Caller) -> None:
    first = create(ada, "k")
    task_id = first.json()["id"]
    ada.delete(task_id)

    response = create(ada, "k")

    assert response.json()["id"] == task_id
    assert "idempotent-replayed" not in response.headers
    known = {"If-Match": first.headers["etag"]}
    assert ada.request("DELETE", f"{ada.tasks}/{task_id}", headers=known).status_code == 412


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\u00e9", "a\tb"])
def test_create_task_with_a_bad_key_is_422_and_makes_nothing(
    ada: Caller, rows: Callable[..., list[Any]], key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode()}

    response = ada.request("POST", ada.tasks, json={"title": "x"}, headers=headers)

    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert ada.list().json() == []
    assert rows("select from users") == []
