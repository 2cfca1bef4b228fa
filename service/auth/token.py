"""Reads the bearer token of an Authorization header. Refuses a malformed token before a key is looked up.

Stricter than PyJWT where RFC 8725 recommends it. The returned contents are not verified.
"""

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

from service.auth.errors import InvalidToken, TokenTooLarge

BRACKETS = 500
"""The most lists and objects in a segment. Python's JSON parser raises RecursionError at a depth that depends on its
version. This limit is below that depth in every version."""

LONGEST_LIFE = 3650 * 86400.0
"""Seconds from now to the latest accepted `exp`. A later one is probably infinite or in milliseconds."""

KEY_ID_LENGTH = 512
"""The most characters of a `kid`. It may be any string (RFC 7515, section 4.1.4), and is only a dictionary key here."""

CREDENTIALS = re.compile(rb"bearer +(([\w-]+)\.([\w-]+)\.([\w-]+))", re.IGNORECASE)
"""The Authorization header: RFC 9110, section 11.4. In a bytes pattern, `\\w` matches ASCII only."""

REFUSED_HEADERS = frozenset(("crit", "b64"))
"""Header parameters that change what is verified. Parameters with a key or its URL (jku, x5u, x5c, jwk) are ignored."""

TYPES = ("jwt", "at+jwt")


class UnverifiedToken(msgspec.Struct, frozen=True):
    """A well-formed token, not verified. `encoded` is the token itself; `expires` is in epoch seconds."""

    encoded: bytes
    algorithm: str
    key_id: str | None
    claims: dict[str, Any]
    expires: float

    @property
    def signed(self) -> tuple[bytes, bytes]:
        """The signed part of the token, and the signature."""
        message, _, signature = self.encoded.rpartition(b".")
        return message, urlsafe_b64decode(signature + b"==")


def read_bearer(authorization: bytes, max_bytes: int) -> UnverifiedToken:
    """Parse the value of an Authorization header.

    Raises InvalidToken, TokenTooLarge, or an error of the parsers: ValueError, RecursionError.
    """
    if len(authorization) > len("Bearer ") + max_bytes:
        raise TokenTooLarge
    match = CREDENTIALS.fullmatch(authorization)
    if match is None:
        raise InvalidToken("malformed", "no bearer token of three segments")
    header, claims = _members(match[2]), _members(match[3])
    _decoded(match[4])

    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise InvalidToken("algorithm", "alg is absent or not a string")
    if not REFUSED_HEADERS.isdisjoint(header):
        raise InvalidToken("malformed", "a header parameter is not supported")
    if "typ" in header and str(header["typ"]).lower().removeprefix("application/") not in TYPES:
        raise InvalidToken("malformed", "typ is neither JWT nor at+jwt")
    key_id = header.get("kid")
    if "kid" in header and not (isinstance(key_id, str) and len(key_id) <= KEY_ID_LENGTH):
        raise InvalidToken("malformed", f"kid is not a string of at most {KEY_ID_LENGTH} characters")

    for claim in ("exp", "nbf", "iat"):
        if claim in claims and type(claims[claim]) not in (int, float):  # isinstance() accepts a bool
            raise InvalidToken("malformed", f"{claim} is not a number")
    expires = claims.get("exp", 0)
    if not 0 < expires < time.time() + LONGEST_LIFE:
        raise InvalidToken("malformed", "exp is absent, not positive or more than ten years ahead")
    return UnverifiedToken(match[1], algorithm, key_id, claims, expires)


def _decoded(segment: bytes) -> bytes:
    data = urlsafe_b64decode(segment + b"==")
    if urlsafe_b64encode(data).rstrip(b"=") != segment:  # otherwise a token would have several spellings
        raise InvalidToken("malformed", "a segment is not canonical base64url")
    return data


def _members(segment: bytes) -> dict[str, Any]:
    text = _decoded(segment).decode()
    if text.count("[") + text.count("{") > BRACKETS:
        raise InvalidToken("malformed", "a segment has too many lists and objects")
    members = STRICT_JSON.decode(text)
    if not isinstance(members, dict):
        raise InvalidToken("malformed", "a segment is not a JSON object")
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidToken("malformed", "a member is repeated")  # parsers differ in which value they return
    return members


def _no_constant(name: str) -> None:
    raise InvalidToken("malformed", f"{name} is not JSON")


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
