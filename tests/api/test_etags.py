"""Conditional requests: 304 for a current ETag, 412 for another one, whatever a proxy has made of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.serving import Caller


def put(caller: Caller, task_id: str, if_match: str, title: str = "changed") -> httpx.Response:
    headers = {"If-Match": if_match}
    return caller.request("PUT", f"{caller.tasks}/{task_id}", json={"title": title}, headers=headers)


def names_header(response: httpx.Response, name: str) -> bool:
    return response.status_code == 422 and response.json()["errors"][0]["loc"] == ["header", name]


FIRST = ['"1"', 'W/"1"', '"1-gzip"', 'W/"1-gzip"', '"1;gzip"', '"1--gzip"', '"1-br"', '"7", "1"', ',, "1",', "*"]
"""If-Match or If-None-Match for a task at version 1, as clients send it through proxies that compress."""

OTHERS = [
    '"2"',
    'W/"2-gzip"',
    '"1x"',
    '"01"',
    '"1-"',
    '"1-gzip-x"',
    '"9999999999"',
    '"99999999999"',
    '"0"',
    '"-1"',
    '""',
]
"""Tags that do not name version 1. Two are numbers that the column cannot hold."""


def test_get_task_has_a_tag_that_every_edit_moves(ada: Caller) -> None:
    made = ada.create(title="x")
    task_id = made.json()["id"]
    tags = [made.headers["etag"], ada.update(task_id, title="y").headers["etag"], ada.complete(task_id).headers["etag"]]

    assert tags == ['"1"', '"2"', '"3"']
    assert ada.get(task_id).headers["etag"] == '"3"'


@pytest.mark.parametrize("known", FIRST)
def test_get_task_with_the_current_etag_is_304_without_a_body(ada: Caller, known: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    response = ada.request("GET", f"{ada.tasks}/{task_id}", headers={"If-None-Match": known})

    assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"1"')
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["vary"] == "authorization"


def test_get_task_with_an_old_etag_is_200(ada: Caller) -> None:
    task_id = ada.create(title="x").json()["id"]
    ada.complete(task_id)

    assert ada.request("GET", f"{ada.tasks}/{task_id}", headers={"If-None-Match": '"1"'}).status_code == 200


def test_get_task_that_is_missing_is_404_with_if_none_match(ada: Caller) -> None:
    assert ada.request("GET", f"{ada.tasks}/{uuid4()}", headers={"If-None-Match": "*"}).status_code == 404


def test_list_tasks_with_the_current_etag_is_304_until_a_task_changes(ada: Caller) -> None:
    kept, gone = (ada.create(title=title).json()["id"] for title in ("kept", "gone"))
    changes: list[Callable[[], httpx.Response]] = [
        lambda: ada.update(kept, title="other"),
        lambda: ada.complete(kept),
        lambda: ada.delete(gone),
        lambda: ada.create(title="new"),
    ]

    for change in changes:
        tag = ada.list().headers["etag"]
        assert ada.request("GET", ada.tasks, headers={"If-None-Match": tag}).status_code == 304
        change()
        assert ada.request("GET", ada.tasks, headers={"If-None-Match": tag}).status_code == 200


def test_list_tasks_page_has_another_etag_once_a_page_follows(ada: Caller) -> None:
    page = f"{ada.tasks}?limit=1&sort=created_at"
    ada.create(title="first")
    tag = ada.request("GET", page).headers["etag"]
    ada.create(title="second")

    response = ada.request("GET", page, headers={"If-None-Match": tag})

    assert response.status_code == 200
    assert "link" in response.headers


@pytest.mark.parametrize("if_match", [*FIRST, '"9999999999", "1"'])
def test_update_task_at_the_version_of_if_match_is_200(ada: Caller, if_match: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    response = put(ada, task_id, if_match)

    assert (response.status_code, response.json()["title"], response.headers["etag"]) == (200, "changed", '"2"')


@pytest.mark.parametrize("if_match", OTHERS)
def test_update_task_at_another_version_is_412_and_changes_nothing(ada: Caller, if_match: str) -> None:
    task = ada.create(title="x").json()

    response = put(ada, task["id"], if_match)

    assert response.status_code == 412
    assert response.headers["content-type"] == "application/problem+json"
    assert ada.get(task["id"]).json() == task


@pytest.mark.parametrize("if_match", FIRST)
def test_get_task_at_the_version_of_if_match_is_200(ada: Caller, if_match: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    assert ada.request("GET", f"{ada.tasks}/{task_id}", headers={"If-Match": if_match}).status_code == 200


@pytest.mark.parametrize("if_match", OTHERS)
def test_get_task_at_another_version_than_if_match_is_412(ada: Caller, if_match: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    assert ada.request("GET", f"{ada.tasks}/{task_id}", headers={"If-Match": if_match}).status_code == 412


def test_list_tasks_obeys_if_match(ada: Caller) -> None:
    ada.create(title="x")
    tag = ada.list().headers["etag"]
    tags = (tag, tag.replace('"', '"', 1)[:-1] + '-gzip"', "*")

    assert [ada.request("GET", ada.tasks, headers={"If-Match": tag}).status_code for tag in tags] == [200] * 3
    assert ada.request("GET", ada.tasks, headers={"If-Match": '"1"'}).status_code == 412


def test_list_tasks_that_is_streamed_has_no_etag(ada: Caller) -> None:
    ada.create(title="x", description="y" * 5000)

    assert "etag" not in ada.list().headers
    assert ada.request("GET", ada.tasks, headers={"If-Match": "*"}).status_code == 200
    assert ada.request("GET", ada.tasks, headers={"If-Match": '"1"'}).status_code == 412
    assert ada.request("GET", ada.tasks, headers={"If-None-Match": '"1"'}).status_code == 200


@pytest.mark.parametrize("path", ["", "/{id}"])
def test_304_has_the_headers_of_the_200(ada: Caller, path: str) -> None:
    url = ada.tasks + path.format(id=ada.create(title="x").json()["id"])
    full = ada.request("GET", url)

    known = ada.request("GET", url, headers={"If-None-Match": full.headers["etag"]})

    assert known.status_code == 304
    for name in ("etag", "vary", "cache-control"):
        assert known.headers.get_list(name) == full.headers.get_list(name)


WRITES: dict[str, tuple[str, str]] = {
    "update_task": ("PUT", ""),
    "complete_task": ("PATCH", "/complete"),
    "delete_task": ("DELETE", ""),
}


@pytest.mark.parametrize(("method", "path"), WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("value", FIRST)
def test_write_to_a_task_that_if_none_match_names_is_412(ada: Caller, method: str, path: str, value: str) -> None:
    task = ada.create(title="x").json()
    body = {"title": "y", "completed": True}

    def write(task_id: str, **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if method != "DELETE" else None
        return ada.request(method, f"{ada.tasks}/{task_id}{path}", headers=sent, json=content).status_code

    assert write(task["id"], If_None_Match=value) == 412
    assert write(task["id"], If_None_Match=value, If_Match="*") == 412
    assert write(task["id"], If_None_Match=value, If_Match='"1"') == 412
    assert write(str(uuid4()), If_None_Match=value) == 404
    assert ada.get(task["id"]).json() == task
    assert write(task["id"], If_None_Match='"2"', If_Match='"1"') == (204 if method == "DELETE" else 200)


@pytest.mark.parametrize(("method", "path"), WRITES.values(), ids=WRITES)
def test_write_to_a_task_that_if_none_match_does_not_name_succeeds(ada: Caller, method: str, path: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    response = ada.request(
        method, f"{ada.tasks}/{task_id}{path}", headers={"If-None-Match": '"7"'}, json={"title": "y", "completed": True}
    )

    assert response.is_success


def test_complete_task_and_delete_task_obey_if_match(ada: Caller) -> None:
    task_id = ada.create(title="x").json()["id"]
    path = f"{ada.tasks}/{task_id}"

    assert ada.request("PATCH", f"{path}/complete", headers={"If-Match": '"2"'}).status_code == 412
    assert ada.request("DELETE", path, headers={"If-Match": '"2"'}).status_code == 412
    assert ada.request("PATCH", f"{path}/complete", headers={"If-Match": '"1"'}).json()["completed"] is True
    assert ada.request("DELETE", path, headers={"If-Match": '"1"'}).status_code == 412
    assert ada.request("DELETE", path, headers={"If-Match": '"2"'}).status_code == 204


def test_if_match_on_a_missing_or_foreign_task_is_404(ada: Caller, bob: Caller) -> None:
    foreign = bob.create(title="x").json()["id"]

    for task_id in (str(uuid4()), foreign):
        assert put(ada, task_id, '"1"').status_code == 404
        for method, path in (("PATCH", "/complete"), ("DELETE", "")):
            url = f"{ada.tasks}/{task_id}{path}"
            assert ada.request(method, url, headers={"If-Match": '"1"'}).status_code == 404


@pytest.mark.parametrize("value", ["1", "", ",", '"1', '"a"b"', '"1" "2"', "W/1", "*,*", '*, "1"'])
def test_if_match_that_is_malformed_is_422_and_names_the_header(ada: Caller, value: str) -> None:
    task_id = ada.create(title="x").json()["id"]

    assert names_header(put(ada, task_id, value), "If-Match")
    assert names_header(ada.request("GET", ada.tasks, headers={"If-None-Match": value}), "If-None-Match")
    assert ada.get(task_id).headers["etag"] == '"1"'


def test_entity_tags_in_two_headers_are_one_list(ada: Caller) -> None:
    task_id = ada.create(title="x").json()["id"]
    headers = [("Authorization", f"Bearer {ada.token}")]

    def two_lines(method: str, name: str) -> int:
        lines = [*headers, (name, '"1"'), (name, '"7"')]
        return ada._client.request(method, f"{ada.tasks}/{task_id}", headers=lines).status_code

    assert two_lines("GET", "If-None-Match") == 304
    assert two_lines("DELETE", "If-Match") == 204


def test_update_task_by_25_writers_with_if_match_counts_every_edit(ada: Caller) -> None:
    task_id = ada.create(title="0").json()["id"]

    def add_one(_: int) -> int:
        tries = 0
        while True:
            tries += 1
            read = ada.get(task_id)
            answer = put(ada, task_id, read.headers["etag"], str(int(read.json()["title"]) + 1))
            if answer.status_code == 200:
                return tries
            assert answer.status_code == 412

    with ThreadPoolExecutor(25) as threads:
        tries = sum(threads.map(add_one, range(25)))

    assert ada.get(task_id).json()["title"] == "25"
    assert tries > 25
