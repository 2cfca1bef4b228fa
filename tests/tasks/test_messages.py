"""Every sentence about a value that is not valid, as a client gets it; and that no answer has any other words."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec.inspect
import pytest

from service.api import problems
from service.api.problems import ProblemType
from service.tasks.messages import MESSAGES
from service.tasks.types import CompleteTask, CreateTask, UpdateTask
from tests.serving import Caller

Call = Callable[[Caller, str], httpx.Response]

SENTENCE = re.compile(r"[A-Z][^\n]*[.]").fullmatch
WORDS_OF_LIBRARIES = re.compile(
    r"\b(?:str|int|bool|null|array|object `|Expected|expected|got|regex|(?<!-)None)\b|`"
).search


def body(method: str, text: str) -> Call:
    path = {"POST": "", "PUT": "/{id}", "PATCH": "/{id}/complete"}[method]
    return lambda ada, id: ada.request(method, ada.tasks + path.format(id=id), content=text)


def query(text: str) -> Call:
    return lambda ada, _: ada.request("GET", f"{ada.tasks}?{text}")


def twice(ada: Caller, _: str) -> httpx.Response:
    for title in "xy":
        response = ada.request("POST", ada.tasks, json={"title": title}, headers={"Idempotency-Key": "k"})
    return response


REFUSALS: dict[str, Call] = {
    "body.json_invalid": body("POST", "{"),
    "body.type": body("POST", "[]"),
    "body.missing": body("PUT", '{"completed": true}'),
    "body.title.missing": body("POST", "{}"),
    "body.title.type": body("PUT", '{"title": null}'),
    "body.title.too_short": body("POST", '{"title": ""}'),
    "body.title.too_long": body("POST", '{"title": "' + "x" * 501 + '"}'),
    "body.title.pattern": body("POST", '{"title": " "}'),
    "body.title.surrogate": body("POST", '{"title": "\\ud83d"}'),
    "body.description.type": body("POST", '{"title": "x", "description": 1}'),
    "body.description.pattern": body("PUT", '{"description": "\\u0000"}'),
    "body.description.surrogate": body("PUT", '{"description": "\\ud83d"}'),
    "body.completed.missing": body("PATCH", '{"done": true}'),
    "body.completed.type": body("PATCH", '{"completed": "yes"}'),
    "query.query": query("q=%ff"),
    "query.limit.value": query("limit=0"),
    "query.limit.repeated": query("limit=1&limit=1"),
    "query.cursor.value": query("cursor=x"),
    "query.cursor.repeated": query("cursor=" + "A" * 52 + "&cursor=" + "A" * 52),
    "query.cursor.cursor": query("cursor=" + "A" * 52),
    "query.completed.value": query("completed=1"),
    "query.completed.repeated": query("completed=true&completed=true"),
    "query.sort.value": query("sort=title"),
    "query.sort.repeated": query("sort=created_at&sort=created_at"),
    "query.q.value": query("q=" + "x" * 201),
    "query.q.repeated": query("q=x&q=x"),
    "path.user_id.uuid": lambda ada, _: ada.request("GET", "/api/x/tasks"),
    "path.id.uuid": lambda ada, _: ada.get("x"),
    "header.If-Match.entity_tag": lambda ada, id: ada.request("DELETE", f"{ada.tasks}/{id}", headers={"If-Match": "1"}),
    "header.If-None-Match.entity_tag": lambda ada, _: ada.request("GET", ada.tasks, headers={"If-None-Match": "1"}),
    "header.Idempotency-Key.value": lambda ada, _: ada.request(
        "POST", ada.tasks, json={"title": "x"}, headers={"Idempotency-Key": ""}
    ),
    "header.Idempotency-Key.reused": twice,
    "header.Idempotency-Key.flip": lambda ada, id: ada.complete(id, headers={"Idempotency-Key": "k"}),
}

ELSEWHERE = {
    "body.incomplete": "tests/edge",
    "body.storage": "test_text_that_the_database_cannot_store_is_422",
}
"""Sentences that need a broken connection or a database of another encoding, and where they are tested."""

TYPES = {name: type for name, type in vars(problems).items() if isinstance(type, ProblemType)}


def test_every_error_of_a_body_has_a_message() -> None:
    missing = {key for body in (CreateTask, UpdateTask, CompleteTask) for key in errors_of(body)} - MESSAGES.keys()

    assert not missing, f"add to MESSAGES in service/tasks/messages.py a sentence for each of {sorted(missing)}"


def errors_of(body: type[msgspec.Struct]) -> Iterator[str]:
    """The keys in MESSAGES of the errors that api/payloads.py may find in the members of `body`."""
    inspected = msgspec.inspect.type_info(body)
    assert isinstance(inspected, msgspec.inspect.StructType)
    for field in inspected.fields:
        place = f"body.{field.encode_name}"
        yield f"{place}.type"
        if field.required:
            yield f"{place}.missing"
        for type in parts(field.type):
            if isinstance(type, msgspec.inspect.StrType):
                yield f"{place}.surrogate"
            for rule, error in (("min_length", "too_short"), ("max_length", "too_long"), ("pattern", "pattern")):
                if getattr(type, rule, None) is not None:
                    yield f"{place}.{error}"


def parts(type: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """The types of a union, without annotations."""
    if isinstance(type, msgspec.inspect.Metadata):
        yield from parts(type.type)
    elif isinstance(type, msgspec.inspect.UnionType):
        for part in type.types:
            yield from parts(part)
    else:
        yield type


def test_every_message_is_tested() -> None:
    tested = REFUSALS.keys() | ELSEWHERE.keys()

    assert not MESSAGES.keys() - tested, "add to REFUSALS a request that causes each of these errors"
    assert not tested - MESSAGES.keys(), "remove from REFUSALS what MESSAGES no longer has"


@pytest.mark.parametrize(("key", "call"), REFUSALS.items(), ids=REFUSALS)
def test_refusal_shows_its_sentence(ada: Caller, key: str, call: Call) -> None:
    response = call(ada, ada.create(title="x").json()["id"])

    document: dict[str, Any] = response.json()
    (error,) = document["errors"]
    *loc, type = key.split(".")
    assert response.status_code == 422
    assert (error["loc"], error["type"]) == (loc, problems.TYPES.get(type, type))
    assert error["msg"] == document["detail"] == MESSAGES[key]


@pytest.mark.parametrize("text", [*MESSAGES.values(), *(type.detail for type in TYPES.values())])
def test_message_is_a_sentence_for_users(text: str) -> None:
    assert SENTENCE(text)
    assert not WORDS_OF_LIBRARIES(text)
