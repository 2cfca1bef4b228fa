"""What browsers need: preflights, headers that a page may read, compressed lists. The rest is in tests/browser."""

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.serving import Api, Caller, serving

PAGE = "https://tasks.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization,content-type,if-match,idempotency-key",
}


@pytest.fixture
def shared(database: str) -> Iterator[Api]:
    with serving(database_url=database, cors_origins=f"{PAGE}, http://localhost:3000/") as running:
        yield running


def preflight(api: Api, **headers: str) -> httpx.Response:
    path = f"/api/{api.caller().id}/tasks"
    return api.anonymous.options(path, headers=PREFLIGHT | {name.replace("_", "-"): v for name, v in headers.items()})


def test_preflight_is_answered_for_a_day_without_token_or_database(postgres: Any) -> None:
    with serving(database_url="postgresql://nobody@127.0.0.1:1/none", cors_origins=PAGE) as api:
        response = preflight(api)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-max-age"] == "86400"
    assert "PUT" in response.headers["access-control-allow-methods"]
    assert "Idempotency-Key" in response.headers["access-control-allow-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example", "http://tasks.example"])
def test_preflight_of_another_origin_is_refused(shared: Api, origin: str) -> None:
    response = preflight(shared, Origin=origin)

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert (
        response.json()["detail"]
        == "Pages of this origin may not call this service. CORS_ORIGINS does not list the origin."
    )
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_create_task_from_an_allowed_origin_shows_what_a_page_needs(shared: Api, origin: str) -> None:
    ada = shared.caller()
    response = ada.request("POST", ada.tasks, json={"title": "x"}, headers={"Origin": origin})

    assert response.status_code == 201
    assert response.headers["access-control-allow-origin"] == origin
    assert "Origin" in response.headers["vary"]
    shown = set(response.headers["access-control-expose-headers"].split(", "))
    assert shown >= {"ETag", "Link", "Location", "Retry-After", "X-Request-ID", "Server-Timing"}


def test_a_refusal_too_can_be_read_by_the_page(shared: Api) -> None:
    response = shared.anonymous.get(f"/api/{shared.caller().id}/tasks", headers={"Origin": PAGE})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == PAGE


def test_no_origin_is_allowed_unless_configured(api: Api) -> None:
    assert preflight(api).status_code == 405
    response = api.anonymous.get("/livez", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in response.headers


@pytest.fixture
def long_list(ada: Caller, rows: Callable[..., list[Any]]) -> Caller:
    ada.create(title="the first")
    rows("insert into tasks (user_id, title) select %s, 'task ' || n from generate_series(1, 1200) as n", ada.id)
    return ada


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_list_tasks_of_many_is_compressed_as_accepted(api: Api, long_list: Caller, encoding: str) -> None:
    plain = long_list.request("GET", long_list.tasks, headers={"Accept-Encoding": "identity"})
    headers = {"Authorization": f"Bearer {long_list.token}", "Accept-Encoding": encoding}
    with api.anonymous.stream("GET", long_list.tasks, headers=headers) as response:
        raw = b"".join(response.iter_raw())

    assert response.headers["content-encoding"] == encoding
    assert "accept-encoding" in response.headers["vary"].lower()
    assert len(raw) < len(plain.content) / 4
    if encoding == "gzip":
        assert gzip.decompress(raw) == plain.content


def test_list_tasks_of_few_is_not_compressed(ada: Caller) -> None:
    ada.create(title="x")

    assert "content-encoding" not in ada.list().headers
