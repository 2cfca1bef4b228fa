"""No request leaves a reference cycle, which only the garbage collector could free."""

import gc
from collections.abc import Iterator

import pytest

from tests.serving import serving
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
def test_requests_leave_no_reference_cycles(
    database: str, without_collector: None, method: str, path: str, body: bytes, status: int
) -> None:
    with serving(database_url=database, pool_max_size=2) as api:
        api.fill()  # what opens a connection leaves some
        ada = api.caller()
        task_id = ada.create(title="x").json()["id"]
        fields = f"Authorization: Bearer {ada.token}", "Content-Type: application/json"
        sent = request(method, ada.tasks + path.format(id=task_id), *fields, body=body)
        with Wire(api.address) as wire:
            for number in range(REQUESTS + 10):
                if number == 10:
                    gc.collect()
                wire.send(sent)
                assert wire.answer().status == status
            assert gc.collect() < REQUESTS
