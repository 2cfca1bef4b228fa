"""Refused tokens over HTTP: the response, the count and the log line. And readiness before the keys are read."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service.auth.errors import REASONS, InvalidToken
from service.auth.refusals import RefusalLog
from tests.jwks_server import JwksServer
from tests.ports import free_port
from tests.service_process import start_service
from tests.serving import SECRET, Api, answers, http_client, serving, until
from tests.tokens import ED, ROTATED, STRANGER, Secret, claims, credentials, header_text, key_set

NOW = int(time.time())
OWN = Secret(SECRET.encode())
NAMED = {"iss": '"https://id.example"', "aud": '"tasks"', "kind": '"access"'}
SETTINGS = {"jwt_issuer": "https://id.example", "jwt_audience": "tasks", "jwt_required_claims": "kind=access"}


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    issuer = JwksServer(key_set(ED))
    yield issuer
    issuer.stop()


def call(api: Api, authorization: bytes | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization.decode()}
    return api.anonymous.get("/api/me/tasks", headers=headers)


def own(header: dict[str, str] | None = None, **changes: str | None) -> bytes:
    return credentials(OWN, header_text(OWN, **(header or {})), claims(**(NAMED | changes)))


REFUSED: dict[str, bytes] = {
    "malformed": b"Bearer opaque",
    "algorithm": own({"alg": '"RS256"'}),
    "issuer": own(iss='"https://other.example"'),
    "audience": own(aud='"other"'),
    "claim": own(kind='"id"'),
    "user": own(sub='"ada"'),
    "signature": credentials(Secret(b"x" * 32), payload=claims(**NAMED)),
    "expired": own(exp=str(NOW - 60)),
    "not_yet_valid": own(nbf=str(NOW + 600)),
}


def test_refused_token_gets_one_sentence(database: str, issuer: JwksServer) -> None:
    with serving(database_url=database, **SETTINGS) as api:
        for reason, authorization in REFUSED.items():
            answer = call(api, authorization)
            assert answer.status_code == 401, reason
            assert answer.json()["detail"] == REASONS[reason]
            expected = f'Bearer error="invalid_token", error_description="{REASONS[reason]}"'
            assert answer.headers["www-authenticate"] == expected
    with serving(database_url=database, jwt_secret="", jwks_url=issuer.url) as api:
        assert call(api, credentials(STRANGER)).json()["detail"] == REASONS["unknown_key"]
    assert REFUSED.keys() | {"unknown_key"} == REASONS.keys()


def test_request_without_a_token_gets_no_error_code(api: Api) -> None:
    answer = call(api, None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"  # RFC 6750, section 3.1


def test_token_over_the_limit_is_431_with_the_reason(database: str) -> None:
    token = credentials(OWN, payload=claims(roles=f'"{"r" * 7000}"'))
    assert 8192 < len(token) < 12288
    with serving(database_url=database) as api:
        answer = call(api, token)
        assert answer.status_code == 431
        assert answer.json()["detail"].startswith("The token is larger than this service accepts.")
        assert "www-authenticate" not in answer.headers  # else the page would redirect to the login, in a loop
    with serving(database_url=database, max_token_bytes=12288) as api:
        assert call(api, token).status_code == 200


def test_token_of_the_largest_limit_fits_the_head(database: str) -> None:
    token = credentials(OWN, payload=claims(roles=f'"{"r" * 10200}"'))
    assert 13_500 < len(token) <= 14336
    with serving(database_url=database, max_token_bytes=14336) as api:
        assert call(api, token).status_code == 200


def test_refused_tokens_are_counted_by_reason(database: str) -> None:
    port = free_port()

    def metrics() -> str:
        with http_client() as client, suppress(httpx.ConnectError):
            return client.get(f"http://127.0.0.1:{port}/metrics").text
        return ""

    with serving(database_url=database, metrics_port=port, **SETTINGS) as api:
        until(metrics)
        for authorization in REFUSED.values():
            call(api, authorization)
        call(api, REFUSED["expired"])
        call(api, b"Bearer " + b"x" * 9000)
        call(api, own())
        lines = [line for line in metrics().splitlines() if line.startswith("task_service_refused_tokens_total")]
        counts = dict.fromkeys(REFUSED, 1) | {"expired": 2, "too_large": 1}
        assert set(lines) == {
            f'task_service_refused_tokens_total{{reason="{reason}"}} {number}.0' for reason, number in counts.items()
        }


def test_refused_tokens_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    log = RefusalLog(10, lambda: now)
    for _ in range(1000):
        log.note(InvalidToken("expired"))
        log.note(InvalidToken("user", "sub is not a UUID"))
    now = 110.0
    log.note(InvalidToken("expired"))
    assert [record.getMessage() for record in caplog.records] == [
        "A token is refused, expired: The token has expired. (1 since the last such line)",
        "A token is refused, user: sub is not a UUID (1 since the last such line)",
        "A token is refused, expired: The token has expired. (1000 since the last such line)",
    ]
    assert log.counts == {"expired": 1001, "user": 1000}


def test_readyz_is_503_until_a_key_set_was_read(database: str, issuer: JwksServer) -> None:
    issuer.answering.clear()
    with serving(database_url=database, jwt_secret="", jwks_url=issuer.url) as api:

        def reasons() -> list[str]:
            return [error["msg"] for error in api.anonymous.get("/readyz").json().get("errors", [])]

        missing = "no key set has been read from the tokens' issuer"
        until(lambda: reasons() == [missing])
        issuer.answering.set()
        until(lambda: api.anonymous.get("/readyz").status_code == 200)
        issuer.status = 500  # later failures change nothing: the known keys are kept
        call(api, credentials(STRANGER))
        assert api.anonymous.get("/readyz").status_code == 200


def test_readyz_needs_no_key_set_beside_a_secret(database: str) -> None:
    with serving(database_url=database, jwks_url="http://127.0.0.1:1/jwks") as api:
        until(lambda: api.anonymous.get("/readyz").status_code == 200)


@pytest.mark.parametrize(
    ("named", "lines"),
    [({"WORKERS": "2"}, 1), ({"JWT_ISSUER": "https://id.example"}, 0), ({"JWT_AUDIENCE": "tasks"}, 0)],
)
def test_serve_warns_once_of_a_key_set_without_issuer_and_audience(
    named: dict[str, str], lines: int, tmp_path: Path
) -> None:
    (tmp_path / "jwks.json").write_bytes(key_set(ED, ROTATED))
    port = free_port()
    given = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "PORT": str(port), "SHUTDOWN_DELAY": "0"}
    given |= {"JWKS_FILE": str(tmp_path / "jwks.json"), "CURSOR_SECRET": "x" * 32}
    with (tmp_path / "log").open("w") as log:
        process = start_service(given | named, stdout=log, stderr=log)
        try:
            until(lambda: answers(port), 20)
        finally:
            process.terminate()
            process.wait(20)
    assert (tmp_path / "log").read_text().count("neither JWT_ISSUER nor JWT_AUDIENCE is set") == lines
