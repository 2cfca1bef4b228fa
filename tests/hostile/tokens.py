"""Hostile tokens. Each is signed with the key that the service trusts, unless its row names another key."""

import hmac
import json
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.hostile.row import Row, call
from tests.hostile.target import EVE, NOBODY, Target
from tests.tokens import (
    ADA,
    KEYS,
    SECRET,
    STRANGER,
    Secret,
    SigningKey,
    base64url,
    credentials,
    header_text,
    other_last_character,
)
from tests.wire import request


def authorization(what: str, value: Callable[[Target], bytes | str], status: int = 401) -> Row:
    """A request with this value of the Authorization header."""

    def sent(target: Target) -> bytes:
        text = value(target)
        return request(
            "GET", target.tasks, f"Authorization: {text if isinstance(text, str) else text.decode('latin-1')}"
        )

    return Row(what, status, sent)


def form(what: str, change: Callable[[bytes], bytes], status: int = 401) -> Row:
    """A valid token that is changed after it was signed."""
    return authorization(what, lambda target: b"Bearer " + change(good(target)), status)


def header(what: str, status: int = 401, **changes: str | None) -> Row:
    return authorization(
        what, lambda target: credentials(target.signer, header_text(target.signer, **changes), target.claims()), status
    )


def with_embedded_key(target: Target) -> bytes:
    """A token that is signed with an unknown key, which its header contains."""
    return credentials(STRANGER, header_text(STRANGER, jwk=json.dumps(STRANGER.jwk)), target.claims())


def claim(what: str, status: int = 401, **changes: str | None) -> Row:
    return authorization(what, lambda target: credentials(target.signer, payload=target.claims(**changes)), status)


def payload(what: str, text: str) -> Row:
    return authorization(what, lambda target: credentials(target.signer, payload=text))


def good(target: Target) -> bytes:
    return credentials(target.signer, payload=target.claims()).removeprefix(b"Bearer ")


def twice(target: Target) -> bytes:
    headers = [f"Authorization: Bearer {good(target).decode()}"] * 2
    return request("GET", target.tasks, *headers)


def confused(public: bytes) -> Callable[[Target], bytes]:
    """A token that is signed with HMAC, with the public key as its secret (algorithm confusion)."""

    def value(target: Target) -> bytes:
        head = header_text(target.signer, alg='"HS256"')
        signed = base64url(head.encode()) + b"." + base64url(target.claims().encode())
        return b"Bearer " + signed + b"." + base64url(hmac.digest(public, signed, "sha256"))

    return value


def signed_by(signer: Secret | SigningKey) -> Callable[[Target], bytes]:
    return lambda target: credentials(signer, payload=target.claims())


IN_AN_HOUR = str(int(time.time()) + 3600)

ROWS = [
    Row("1 no header", 401, lambda target: request("GET", target.tasks)),
    authorization("2 nothing", lambda _: ""),
    authorization("2 Bearer alone", lambda _: "Bearer"),
    authorization("2 Bearer and a space", lambda _: "Bearer "),
    authorization("3 Basic", lambda _: "Basic YTpi"),
    authorization("3 no scheme", good),
    Row("4 two headers", 401, twice),
    authorization("4 two tokens", lambda target: b"Bearer " + good(target) + b", Bearer " + good(target)),
    form("5 latin-1", lambda token: b"\xe4." + token),
    form("5 control byte", lambda token: b"\x01." + token, 400),
    form("5 tab", lambda token: b"\t" + token),
    form("6 9 KB", lambda token: token + b"A" * 9000, 431),
    form("6 1 MB", lambda token: token + b"A" * 1_000_000, 431),
    header("7 alg none", alg='"none"'),
    header("8 alg None", alg='"None"'),
    header("8 alg nOnE", alg='"nOnE"'),
    header("9 alg list", alg='["HS256", "EdDSA"]'),
    header("10 alg missing", alg=None),
    header("10 alg null", alg="null"),
    header("12 alg of the same family", alg='"HS512"'),
    header("12 alg of another family", alg='"PS256"'),
    authorization("12 another key", signed_by(Secret(b"x" * 64))),
    authorization("12 another key of the same name", signed_by(SigningKey("EdDSA", "key-1"))),
    *(authorization(f"12 {name}", signed_by(key)) for name, key in KEYS.items() if name != "EdDSA"),
    header("15 kid int", kid="1"),
    header("15 kid null", kid="null"),
    authorization("16 kid unknown", signed_by(STRANGER)),
    header("17 jku, ignored", 200, jku='"http://127.0.0.1:1/jwks"'),
    header("17 x5u, ignored", 200, x5u='"http://127.0.0.1:1/x5u"'),
    header("17 jwk, ignored", 200, jwk=json.dumps(STRANGER.jwk)),
    authorization("17 jwk of the signer", with_embedded_key),
    header("18 crit", crit='["exp"]'),
    header("18 crit empty", crit="[]"),
    header("19 b64 false", b64="false", crit='["b64"]'),
    header("19 b64 false, not in crit", b64="false"),
    claim("20 expired", exp=str(int(time.time()) - 11)),
    claim("21 nbf in the future", nbf=IN_AN_HOUR),
    claim("21 iat in the future", iat=IN_AN_HOUR),
    claim("22 exp missing", exp=None),
    claim("22 exp null", exp="null"),
    claim("22 exp true", exp="true"),
    claim("22 exp list", exp=f"[{IN_AN_HOUR}]"),
    claim("23 exp text", exp=f'"{IN_AN_HOUR}"'),
    claim("23 exp 1e308", exp="1e308"),
    claim("23 exp 10**400", exp="1" + "0" * 400),
    claim("23 exp NaN", exp="NaN"),
    claim("23 exp Infinity", exp="Infinity"),
    claim("26 sub int", sub="1"),
    claim("26 sub empty", sub='""'),
    claim("26 sub with NUL", sub=f'"{EVE}\\u0000"'),
    claim("26 sub no UUID", sub='"eve"'),
    claim("26 sub in braces", sub=f'"{{{EVE}}}"'),
    claim("26 sub list", sub=f'["{EVE}"]'),
    claim("26 sub in upper case", 200, sub=f'"{EVE.upper()}"'),
    claim("27 sub twice", sub=f'"{EVE}", "sub": "{ADA}"'),
    payload("28 list", "[]"),
    payload("28 deep", "[" * 3000),
    payload("28 5,000 digits", "1" * 5000),
    payload("28 no JSON", "sub"),
    form("29 signature stripped", lambda token: token.rpartition(b".")[0] + b"."),
    form("29 two parts", lambda token: token.rpartition(b".")[0]),
    form("29 four parts", lambda token: token + b".AAAA"),
    form("29 signature altered", other_last_character),
    form("29 signature longer", lambda token: token + b"AAAA"),
    form("29 signature padded", lambda token: token + b"=="),
    call("30 Ada's tasks", 403, "GET", f"/api/{ADA}/tasks"),
    call("30 Ada's task", 403, "GET", "{adas_task}"),
    call("30 Ada's task as Eve's", 404, "GET", "{tasks}/{adas_task_id}"),
    call("30 Ada's task, deleted", 404, "DELETE", "{tasks}/{adas_task_id}"),
    call("30 nobody's task", 404, "GET", f"{{tasks}}/{NOBODY}"),
]
"""For a service that trusts a shared secret, and for one that trusts an issuer's keys."""

PUBLIC = KEYS["EdDSA"].private.public_key()
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

ISSUER_ROWS = [
    header("13 kid a path", kid='"../../dev/null"'),
    header("14 kid SQL", kid='"\' or 1=1--"'),
    authorization("11 signed with the public key", confused(PEM)),
    authorization("11 signed with the public key in DER", confused(DER)),
    authorization("11 signed with the public JWK", confused(json.dumps(KEYS["EdDSA"].jwk).encode())),
    authorization("12 the other service's secret", signed_by(SECRET)),
    claim("24 aud list with ours", 200, aud='["web", "tasks"]'),
    claim("24 aud list without ours", aud='["web"]'),
    claim("24 aud a prefix", aud='"task"'),
    claim("24 aud longer", aud='"tasks2"'),
    claim("24 aud absent", aud=None),
    claim("24 aud empty", aud='""'),
    claim("25 iss list", iss='["https://id.example"]'),
    claim("25 iss a prefix", iss='"https://id"'),
    claim("25 iss longer", iss='"https://id.example/"'),
    claim("25 iss absent", iss=None),
]
"""For a service that trusts an issuer's keys and checks its name."""
