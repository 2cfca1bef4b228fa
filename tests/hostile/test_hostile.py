"""Hostile inputs get the expected responses and change nothing. The tables are in this folder."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import Postgres
from tests.hostile import table
from tests.hostile.bodies import TEXTS
from tests.hostile.row import Row
from tests.hostile.table import ISSUER_ROWS, ROWS
from tests.hostile.target import FILES, Target
from tests.jwks_server import JwksServer
from tests.tokens import STRANGER, credentials, header_text
from tests.wire import Wire, request


@pytest.fixture(scope="module")
def shared_secret(postgres: Postgres, template: str) -> Iterator[Target]:
    with postgres.database(template) as url, table.shared_secret(url) as running:
        yield running


@pytest.fixture(scope="module")
def issuer() -> Iterator[JwksServer]:
    with table.issuer() as server:
        yield server


@pytest.fixture(scope="module")
def issued(postgres: Postgres, template: str, issuer: JwksServer) -> Iterator[Target]:
    with postgres.database(template) as url, table.issued(url, issuer.url) as running:
        yield running


def assert_answer(row: Row, target: Target) -> None:
    answer = target.ask(row.sent(target), row.method)
    assert answer.status == row.status, answer
    if answer.status >= 400:
        assert answer.problem_detail()
        assert (answer.status == 401) == ("www-authenticate" in answer.headers)
        assert (answer.status == 405) == ("allow" in answer.headers)
    assert b"evil" not in repr(answer).encode()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_hostile_input_gets_the_expected_response(shared_secret: Target, row: Row) -> None:
    assert_answer(row, shared_secret)


@pytest.mark.parametrize("row", ISSUER_ROWS, ids=lambda row: row.what)
def test_hostile_token_gets_the_expected_response_with_issuer_keys(issued: Target, row: Row) -> None:
    assert_answer(row, issued)


def test_hostile_key_ids_share_their_fetches(issued: Target, issuer: JwksServer) -> None:
    before = issuer.fetches
    with ExitStack() as crowd:
        wires = [crowd.enter_context(Wire(issued.address)) for _ in range(100)]
        for number, wire in enumerate(wires):
            kid = header_text(STRANGER, kid=f'"key-{number}"')
            wire.send(request("GET", issued.tasks, f"Authorization: {credentials(STRANGER, kid).decode()}"))
        assert {wire.answer().status for wire in wires} == {401}
    assert issuer.fetches <= before + 2  # the second serves the requests that arrived during the first


@pytest.mark.parametrize("text", TEXTS)
def test_hostile_text_is_stored_unchanged(shared_secret: Target, text: str) -> None:
    body = json.dumps({"title": text, "description": text}).encode()
    made = shared_secret.ask(shared_secret.authorized("POST", shared_secret.tasks, body=body))
    found = shared_secret.ask(shared_secret.authorized("GET", made.headers["location"]))
    assert found.body == made.body
    task = json.loads(found.body)
    assert task["title"] == task["description"] == text


def test_hostile_pipelining_is_answered_in_order(shared_secret: Target) -> None:
    missing = shared_secret.authorized("GET", shared_secret.tasks + "/x")
    found = shared_secret.authorized("GET", shared_secret.task)
    with Wire(shared_secret.address) as wire:
        wire.send((missing + found) * 50)
        assert [wire.answer().status for _ in range(100)] == [422, 200] * 50


def test_hostile_connections_past_the_soft_limit_of_files_are_served(shared_secret: Target) -> None:
    with ExitStack() as crowd:
        wires = [crowd.enter_context(Wire(shared_secret.address)) for _ in range(FILES * 2)]
        assert {wire.send(request("GET", "/livez")).answer().status for wire in wires} == {200}


@pytest.mark.parametrize(("service", "rows"), [("shared_secret", ROWS), ("issued", ISSUER_ROWS)])
def test_hostile_inputs_change_nothing(request: pytest.FixtureRequest, service: str, rows: list[Row]) -> None:
    target: Target = request.getfixturevalue(service)
    for row in rows:
        assert_answer(row, target)
    memory = target.memory()
    for row in rows * 3:
        target.ask(row.sent(target), row.method)
    assert target.state() == target.state_at_start
    assert abs(target.memory() - memory) < 10_000_000
