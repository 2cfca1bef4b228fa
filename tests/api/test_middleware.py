"""What browsers need: preflights, headers that a page may read, compressed lists. The rest is in tests/browser."""

import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.api import problems
from tests.serving import Api, serving

PAGE = "https://tasks.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization,content-type,if-match,idempotency-key",
}


ORIGINS = f"{PAGE}:443, http://localhost:3000/, http://127.0.0.1:*, http://[::1]:*, http://intranet.example:80"

ALLOWED = [PAGE, "http://localhost:3000", "http://127.0.0.1", "http://127.0.0.1:5173", "http://[::1]:3000"]
ALLOWED.append("http://intranet.example")
REFUSED = [
    "https://evil.example",
    "null",
    f"{PAGE}.evil.example",
    "http://tasks.example",
    f"{PAGE}:8443",
    "http://[::1]x",
]
REFUSED += ["http://127.0.0.1:*", "http://127.0.0.1:5173.evil.example", "http://localhost:30001", ""]


@pytest.fixture
def shared(database: str) -> Iterator[Api]:
    with serving(database_url=database, cors_origins=ORIGINS) as running:
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


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_preflight_allows_every_method_of_an_operation(shared: Api, method: str) -> None:
    response = preflight(shared, Access_Control_Request_Method=method)

    assert response.status_code == 200
    assert method in response.headers["access-control-allow-methods"].split(", ")


def test_preflight_allows_every_header(shared: Api) -> None:
    sent = "authorization,baggage,idempotency-key,pragma,sentry-trace,traceparent,x-requested-with"

    response = preflight(shared, Access_Control_Request_Headers=sent)

    assert response.status_code == 200
    assert response.headers["access-control-allow-headers"] == sent


@pytest.mark.parametrize("origin", ALLOWED)
def test_preflight_of_an_allowed_origin_names_it(shared: Api, origin: str) -> None:
    response = preflight(shared, Origin=origin)

    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)


def refused(response: httpx.Response, detail: str) -> None:
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == detail
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("origin", REFUSED)
def test_preflight_of_another_origin_is_refused_and_names_the_setting(shared: Api, origin: str) -> None:
    refused(
        preflight(shared, Origin=origin),
        "Pages of this origin may not call this service. CORS_ORIGINS does not list the origin.",
    )
    response = shared.anonymous.get("/livez", headers={"Origin": origin})
    assert "access-control-allow-origin" not in response.headers


def test_preflight_of_another_method_is_refused(shared: Api) -> None:
    refused(preflight(shared, Access_Control_Request_Method="TRACE"), "Pages of other origins may not use this method.")


def test_refused_origin_is_logged_once_with_the_setting(database: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(database_url=database, log_level="warning") as api:
        logging.root.addHandler(caplog.handler)
        for origin in (PAGE, PAGE, "null", f"{PAGE}/hunter2"):
            refused(preflight(api, Origin=origin), problems.ORIGIN_NOT_ALLOWED.detail)

    assert [record.getMessage() for record in caplog.records if record.name == "service.api.middleware"] == [
        f"CORS_ORIGINS does not list {origin}: pages of this origin cannot call the service"
        for origin in (PAGE, "null")
    ]


def test_preflight_of_a_private_network_needs_its_setting(database: str) -> None:
    asked = {"Access_Control_Request_Private_Network": "true"}
    with serving(database_url=database, cors_origins=PAGE) as api:
        refused(preflight(api, **asked), problems.PRIVATE_NETWORK_NOT_ALLOWED.detail)
    with serving(database_url=database, cors_origins=PAGE, cors_private_network=True) as api:
        assert preflight(api, **asked).headers["access-control-allow-private-network"] == "true"
        assert "access-control-allow-private-network" not in preflight(api).headers


def test_every_origin_may_call_where_the_setting_is_a_star(database: str) -> None:
    with serving(database_url=database, cors_origins="*") as api:
        response = preflight(api, Origin="https://anywhere.example")
        answer = api.anonymous.get("/livez", headers={"Origin": "https://anywhere.example"})

    for headers in (response.headers, answer.headers):
        assert headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in headers


def test_timing_allow_origin_goes_with_server_timing(shared: Api, database: str) -> None:
    with serving(database_url=database, cors_origins=PAGE, server_timing=True) as api:
        for origin, allowed in ((PAGE, PAGE), ("https://evil.example", None)):
            ada = api.caller()
            response = ada.request("GET", ada.tasks, headers={"Origin": origin})
            assert response.headers.get("timing-allow-origin") == allowed
            assert "server-timing" in response.headers

    assert "timing-allow-origin" not in shared.anonymous.get("/livez", headers={"Origin": PAGE}).headers


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_create_task_from_an_allowed_origin_exposes_its_headers(shared: Api, origin: str) -> None:
    ada = shared.caller()
    response = ada.request("POST", ada.tasks, json={"title": "x"}, headers={"Origin": origin})

    assert response.status_code == 201
    assert response.headers["access-control-allow-origin"] == origin
    assert "Origin" in response.headers["vary"]
    shown = set(response.headers["access-control-expose-headers"].split(", "))
    assert shown >= {"ETag", "Link", "Location", "Retry-After", "X-Request-ID", "Server-Timing"}


def test_problem_can_be_read_by_the_page(shared: Api) -> None:
    response = shared.anonymous.get(f"/api/{shared.caller().id}/tasks", headers={"Origin": PAGE})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origin", [PAGE, "http://127.0.0.1:5173"])
def test_refusal_before_the_application_can_be_read_by_the_page(shared: Api, origin: str) -> None:
    head = {"Origin": origin, "X-Long": "x" * 20_000}
    response = shared.anonymous.get("/livez", headers=head)
    assert response.status_code == 431
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["vary"] == "Origin"
    assert "Retry-After" in response.headers["access-control-expose-headers"]

    other = shared.anonymous.get("/livez", headers=head | {"Origin": "https://other.example"})
    assert other.status_code == 431
    assert "access-control-allow-origin" not in other.headers


def test_no_origin_is_allowed_unless_configured(api: Api) -> None:
    refused(preflight(api), problems.ORIGIN_NOT_ALLOWED.detail)
    response = api.anonymous.get("/livez", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in response.headers
    assert "vary" not in response.headers
