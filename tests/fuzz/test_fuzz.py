"""The checks of `make fuzz` detect failures; and a few cases of each kind."""

import json
import time
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz import bodies, document, examples, messages, tokens
from tests.fuzz.bodies import task_of
from tests.fuzz.tally import Tally, assert_promised
from tests.fuzz.tokens import may_be
from tests.hostile.table import shared_secret
from tests.hostile.target import EVE
from tests.jwks_server import JwksServer
from tests.tokens import ADA
from tests.wire import Answer

HEADER = {"alg": "HS256"}
NOW = int(time.time())
CLAIMS = {"sub": EVE, "exp": NOW + 3600}


@pytest.mark.parametrize(
    ("header", "claims", "status"),
    [
        ({}, {}, 200),
        ({"zip": [], "kid": "x"}, {"iat": NOW, "nbf": NOW + 5.5, "role": {}}, 200),
        ({}, {"sub": EVE.upper()}, 200),
        ({}, {"sub": ADA}, 403),
        ({"alg": "none"}, {}, 401),
        ({"alg": ["HS256"]}, {}, 401),
        ({"crit": []}, {}, 401),
        ({"x5u": None}, {}, 200),
        ({}, {"sub": None}, 401),
        ({}, {"sub": [EVE]}, 401),
        ({}, {"sub": f"{{{EVE}}}"}, 401),
        ({}, {"sub": EVE + "\n"}, 401),
        ({}, {"exp": True}, 401),
        ({}, {"exp": NOW - 60}, 401),
        ({}, {"exp": 1e18}, 401),
        ({}, {"exp": float("nan")}, 401),
        ({}, {"nbf": NOW + 3600}, 401),
        ({}, {"iat": str(NOW)}, 401),
    ],
)
def test_fuzz_expects_the_status_of_a_signed_token(header: dict[str, Any], claims: dict[str, Any], status: int) -> None:
    assert may_be(HEADER | header, CLAIMS | claims) == status


def test_fuzz_expects_alg_sub_and_exp_in_a_signed_token() -> None:
    assert [may_be({}, CLAIMS), may_be(HEADER, {"sub": EVE}), may_be(HEADER, {"exp": NOW + 60})] == [401] * 3


@pytest.mark.parametrize(
    ("operation", "body", "task"),
    [
        ("create_task", b'{"title": "x", "more": 1}', {"title": "x"}),
        ("create_task", b'{"title": "x", "completed": true}', {"title": "x", "completed": True}),
        ("create_task", b'{"title": "x", "title": "y"}', {"title": "y"}),
        ("create_task", b'{"title": "", "title": "y"}', None),
        ("create_task", b'{"title": "x", "completed": 1}', None),
        ("create_task", b'{"completed": true}', None),
        ("create_task", b'{"title": "x", "more": NaN}', None),
        ("create_task", b'{"title": "x", "more": "\xff"}', None),
        ("create_task", rb'{"title": "x", "more": "\ud800"}', None),
        ("create_task", rb'{"title": "\u0000"}', None),
        ("create_task", json.dumps({"title": "😀" * 500}).encode(), {"title": "😀" * 500}),
        ("create_task", json.dumps({"title": "x" * 501}).encode(), None),
        ("create_task", b'[["title", "x"]]', None),
        ("create_task", b"", None),
        ("update_task", b'{"description": null, "completed": 1}', {"description": None}),
        ("update_task", b'{"completed": true}', None),
        ("update_task", b'{"title": null}', None),
        ("complete_task", b"", {}),
        ("complete_task", b'{"completed": false, "title": 1}', {"completed": False}),
        ("complete_task", b"{}", {}),
        ("complete_task", b"null", {}),
    ],
)
def test_fuzz_expects_the_result_of_a_body(operation: str, body: bytes, task: dict[str, Any] | None) -> None:
    assert task_of(operation, body) == task


@pytest.mark.parametrize("status", [200, 404, 503])
def test_fuzz_detects_an_undocumented_response(status: int) -> None:
    with pytest.raises((AssertionError, KeyError)):
        assert_promised(Answer(status, {}, b"{}"), {404, 503})


def test_fuzz_records_the_failing_case_and_repeats_it_with_the_seed() -> None:
    def attempt(number: int) -> None:
        tried.append(number)
        assert number < 1000

    runs = []
    for _ in range(2):
        tally, tried = Tally("numbers"), list[int]()
        examples.run(tally, st.integers(), attempt, 500, seed=1)
        runs.append(tried)

        assert "number" in tally.failures[0]
        assert str(tried[-1]) in tally.failures[0]
    assert runs[0] == runs[1]


def test_fuzz_detects_a_service_that_differs_from_its_document() -> None:
    answers = {"200": {"description": "", "content": {"application/json": {"schema": {"type": "integer"}}}}}
    paths = {"/number": {"get": {"operationId": "number", "responses": answers}}}
    info = {"title": "liar", "version": "1"}
    liar = JwksServer(json.dumps({"openapi": "3.1.0", "info": info, "paths": paths}).encode())
    tally = Tally("document")
    try:
        document.one_pass(("127.0.0.1", liar.port), tally, 1, "Bearer x", {})
    finally:
        liar.stop()

    assert tally.cases
    assert tally.failures


def test_fuzz_has_no_failure_in_a_few_cases(database: str) -> None:
    with shared_secret(database) as service:
        for kind in (tokens, bodies, messages):
            tally = Tally(kind.__name__)
            kind.fuzz(service, tally, 40, seed=1)

            assert not tally.failures
            assert tally.cases == 40
        assert service.state() == service.state_at_start
