"""No request creates a reference cycle, which only the garbage collector could free."""

import asyncio
import gc
from collections.abc import Iterator
from uuid import uuid4

import pytest

from service.db.errors import PoolTimeout
from service.tasks.handlers import CREATE_TASK
from tests.database import opened
from tests.serving import Api, serving
from tests.wire import Wire, request

REQUESTS = 200


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/{id}", b"", 200),
        ("GET", "?limit=1", b"", 200),
        ("POST", "", b'{"title": "x"}', 201),
        ("PATCH", "/{id}/complete", b"", 200),
        ("GET", "/00000000-0000-0000-0000-000000000000", b"", 404),
        ("GET", "?limit=x", b"", 422),
        ("POST", "", b"{}", 422),
        ("PUT", "", b"{}", 405),
    ],
)
def test_requests_create_no_reference_cycles(
    database: str, without_collector: None, method: str, path: str, body: bytes, status: int
) -> None:
    with serving(database_url=database, pool_max_size=2) as api:
        api.fill()  # opening a connection creates some cycles
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        assert_no_cycles(
            api, request(method, ada.tasks + path.format(id=task_id), *json_headers(ada.token), body=body), status
        )


def test_request_with_a_forged_token_creates_no_reference_cycles(database: str, without_collector: None) -> None:
    with serving(database_url=database, pool_max_size=2) as api:
        api.fill()  # opening a connection creates some cycles
        ada = api.caller()
        assert_no_cycles(api, request("GET", ada.tasks, *json_headers(f"{ada.token}x")), 401)


def test_statement_that_fails_creates_no_reference_cycles(database: str, without_collector: None) -> None:
    with serving(database_url=database, pool_max_size=2, provision_users=False) as api:
        api.fill()
        ada = api.caller()
        assert_no_cycles(api, request("POST", ada.tasks, *json_headers(ada.token), body=b'{"title": "x"}'), 403)


def test_request_without_a_database_creates_no_reference_cycles(without_collector: None) -> None:
    with serving(database_url="postgresql://u@127.0.0.1:1/d", acquire_timeout=0.1) as api:
        ada = api.caller()
        assert_no_cycles(api, request("GET", ada.tasks, *json_headers(ada.token)), 503)


async def test_request_that_waited_too_long_creates_no_reference_cycles(database: str, without_collector: None) -> None:
    async with opened(database, pool_max_size=1, acquire_timeout=0.01) as pool:
        connection = pool.try_acquire(uuid4())
        assert connection

        async def refused() -> None:
            with pytest.raises(PoolTimeout):
                await pool.run(CREATE_TASK, uuid4(), "x", None, False)

        await refused()
        gc.collect()
        await asyncio.gather(*(refused() for _ in range(REQUESTS)))
        assert gc.collect() < REQUESTS
        pool.release(connection)


def json_headers(token: str) -> tuple[str, str]:
    return f"Authorization: Bearer {token}", "Content-Type: application/json"


def assert_no_cycles(api: Api, sent: bytes, status: int) -> None:
    with Wire(api.address) as wire:
        for number in range(REQUESTS + 10):
            if number == 10:
                gc.collect()
            wire.send(sent)
            assert wire.answer().status == status
        assert gc.collect() < REQUESTS
