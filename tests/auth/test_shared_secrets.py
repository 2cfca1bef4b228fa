"""A public key as JWT_SECRET is refused in every encoding. And the keys with which cursors are signed."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from service.auth.authenticator import Authenticator
from service.settings import Settings, SettingsError
from service.tasks.query import signing_keys
from tests.jwks_server import self_signed
from tests.tokens import KEYS, SigningKey, key_set

PKIX = PublicFormat.SubjectPublicKeyInfo


def pem(key: SigningKey) -> str:
    text: bytes = key.private.public_key().public_bytes(Encoding.PEM, PKIX)
    return text.decode()


def der(key: SigningKey) -> bytes:
    data: bytes = key.private.public_key().public_bytes(Encoding.DER, PKIX)
    return data


def pkcs1(key: SigningKey) -> bytes:
    data: bytes = key.private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return data


def certificate(encoding: Encoding) -> bytes:
    return load_pem_x509_certificate(self_signed()).public_bytes(encoding)


def lines(text: str) -> str:
    return "\n".join(text[start : start + 64] for start in range(0, len(text), 64))


ANY: dict[str, Callable[[SigningKey], str]] = {
    "PEM": pem,
    "PEM on one line": lambda key: pem(key).replace("\n", "\\n"),
    "PEM with spaces": lambda key: "  " + pem(key).replace("\n", "\r\n") + "  ",
    "PEM without its frame": lambda key: "".join(pem(key).splitlines()[1:-1]),
    "base64 of DER": lambda key: b64encode(der(key)).decode(),
    "base64 of DER without padding": lambda key: b64encode(der(key)).decode().rstrip("="),
    "base64 of DER in lines": lambda key: lines(b64encode(der(key)).decode()),
    "base64url of DER": lambda key: urlsafe_b64encode(der(key)).decode(),
    "hexadecimal of DER": lambda key: der(key).hex(),
    "base64 of PEM": lambda key: b64encode(pem(key).encode()).decode(),
    "base64 of base64 of DER": lambda key: b64encode(b64encode(der(key))).decode(),
    "hexadecimal of base64 of DER": lambda key: b64encode(der(key)).hex(),
    "hexadecimal of hexadecimal of PEM": lambda key: pem(key).encode().hex().encode().hex(),
    "JWK": lambda key: json.dumps(key.jwk),
    "base64 of JWK": lambda key: b64encode(json.dumps(key.jwk).encode()).decode(),
    "JWK Set": lambda key: key_set(key).decode(),
    "SSH": lambda key: key.private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
}

ONE: dict[str, Callable[[], str]] = {
    "PKCS #1 of RSA": lambda: b64encode(pkcs1(KEYS["RS256"])).decode(),
    "PEM of a certificate": lambda: certificate(Encoding.PEM).decode(),
    "x5c": lambda: b64encode(certificate(Encoding.DER)).decode(),
}


def spellings() -> Iterator[Any]:
    for algorithm, key in KEYS.items():
        for name, spell in ANY.items():
            yield pytest.param(spell(key), id=f"{name} of {algorithm}")
    for name, make in ONE.items():
        yield pytest.param(make(), id=name)


@pytest.mark.parametrize("secret", list(spellings()))
@pytest.mark.parametrize("name", ["JWT_SECRET", "JWT_SECRET_PREVIOUS"])
def test_secret_that_is_a_public_key_stops_the_start(name: str, secret: str) -> None:
    given: dict[str, Any] = {"jwt_secret": "x" * 32} | {name.lower(): secret}
    with pytest.raises(SettingsError, match=f"^{name} is a public key") as caught:
        Authenticator(Settings(database_url="postgresql://", **given))
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    [
        "correct horse battery staple, twice",
        "q" * 43 + "=",
        "ab" * 32,
        "MIIB" * 20,
        "{" * 40,
        '{"secret": "' + "x" * 32,
        "-" * 64,
        "é" * 32,
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
        "0" * 64,
    ],
)
def test_secret_that_is_no_public_key_is_accepted(secret: str) -> None:
    Authenticator(Settings(database_url="postgresql://", jwt_secret=secret))


def test_cursors_are_never_signed_with_the_database_url() -> None:
    with pytest.raises(SettingsError, match=r"^CURSOR_SECRET is missing"):
        signing_keys(Settings(database_url="postgresql://ada:secret@db.example/tasks", jwks_url="https://id.example"))
    given: dict[str, Any] = {"jwks_url": "https://id.example", "cursor_secret": "c" * 32}
    keys = {signing_keys(Settings(database_url=url, **given)) for url in ("postgresql://a", "postgresql://b")}
    assert len(keys) == 1


def test_cursors_are_signed_by_the_first_secret_and_verified_by_each() -> None:
    url = "postgresql://"
    cursor = signing_keys(Settings(database_url=url, jwks_url="https://id.example", cursor_secret="c" * 32))
    token = signing_keys(Settings(database_url=url, jwt_secret="j" * 32))
    assert signing_keys(Settings(database_url=url, cursor_secret="c" * 32, jwt_secret="j" * 32)) == cursor + token


def test_cursor_secret_of_less_than_32_bytes_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^CURSOR_SECRET is shorter than 32 bytes"):
        Settings(database_url="postgresql://", jwt_secret="x" * 32, cursor_secret="x" * 31)
