"""Reads the bearer token of an Authorization header, and refuses a malformed one before a key is looked up.

Stricter than PyJWT where RFC 8725 advises it. Nothing that this module returns is verified yet.
"""

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from uuid import UUID

import msgspec

TOKEN_BYTES = 8192
"""A longer token is refused without being parsed."""

BRACKETS = 500
"""At most so many lists and objects in a segment. Python's JSON parser raises RecursionError at a depth that depends on
its version; this is below all of them."""

LONGEST_LIFE = 3650 * 86400.0
"""Seconds from now to the latest `exp` accepted. A later one is infinite, or was given in milliseconds."""

KEY_ID = r"^[A-Za-z0-9._:=+-]{1,128}\Z"
"""The form of a `kid`: no slash, quote or space."""

CREDENTIALS = re.compile(rb"bearer +(([\w-]+)\.([\w-]+)\.([\w-]+))", re.IGNORECASE)
"""RFC 9110, section 11.4; for bytes, `\\w` is ASCII."""

REFUSED_HEADERS = frozenset(("crit", "b64", "jku", "jwk", "x5u", "x5c"))
"""Headers that change what is verified, or that carry a key or its address."""

TYPES = ("jwt", "at+jwt")


class Malformed(ValueError):
    """The token is not one that an issuer makes. The message quotes no part of it."""


class Unverified(msgspec.Struct, frozen=True):
    """The contents of a well-formed token whose signature was not verified. `expires` is in epoch seconds."""

    token: bytes
    key_id: str | None
    subject: UUID
    expires: float


def read_bearer(authorization: bytes, algorithms: tuple[str, ...]) -> Unverified:
    """The token in the value of an Authorization header.

    Raises Malformed, or an error of the parsers: any other ValueError, RecursionError.
    """
    within = len(authorization) <= len("Bearer ") + TOKEN_BYTES
    match = CREDENTIALS.fullmatch(authorization) if within else None
    if match is None:
        raise Malformed("no bearer token of three segments")
    header, claims = _members(match[2]), _members(match[3])
    _decoded(match[4])

    if header.get("alg") not in algorithms:
        raise Malformed("alg is not accepted")
    if not REFUSED_HEADERS.isdisjoint(header):
        raise Malformed("a header parameter is not supported")
    if "typ" in header and str(header["typ"]).lower().removeprefix("application/") not in TYPES:
        raise Malformed("typ is neither JWT nor at+jwt")
    key_id = header.get("kid")
    if "kid" in header and not (isinstance(key_id, str) and re.search(KEY_ID, key_id)):
        raise Malformed("kid is not a plain name")

    for claim in ("exp", "nbf", "iat"):
        if claim in claims and type(claims[claim]) not in (int, float):  # isinstance would accept a bool
            raise Malformed(f"{claim} is not a number")
    expires = claims.get("exp", 0)
    if not 0 < expires < time.time() + LONGEST_LIFE:
        raise Malformed("exp is absent, not positive or more than ten years ahead")
    subject = str(claims.get("sub"))
    user = UUID(subject)  # also parses braces, urn:uuid: and any place for the dashes
    if str(user) != subject.lower():
        raise Malformed("sub is not a UUID in 36 characters")
    return Unverified(match[1], key_id, user, expires)


def _decoded(segment: bytes) -> bytes:
    data = urlsafe_b64decode(segment + b"==")
    if urlsafe_b64encode(data).rstrip(b"=") != segment:  # else one token would have several spellings
        raise Malformed("a segment is not canonical base64url")
    return data


def _members(segment: bytes) -> dict[str, Any]:
    text = _decoded(segment).decode()
    if text.count("[") + text.count("{") > BRACKETS:
        raise Malformed("a segment has too many lists and objects")
    members = STRICT_JSON.decode(text)
    if not isinstance(members, dict):
        raise Malformed("a segment is not a JSON object")
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Malformed("a member is repeated")  # parsers differ in which one they return
    return members


def _no_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON")


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
