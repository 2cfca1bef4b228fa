"""What a bearer token must look like before its signature is worth checking, or a key worth fetching.

Stricter than PyJWT where RFC 8725 advises it. Nothing that this module reads is verified yet.
"""

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from uuid import UUID

import msgspec

TOKEN_BYTES = 8192
"""A longer token is refused unread."""

BRACKETS = 500
"""How deep JSON may be nested is not the same in all versions of Python; this is less than each allows."""

LONGEST_LIFE = 3650 * 86400.0
"""Seconds from now to the latest `exp` that is taken for meant: not infinity, nor a time in milliseconds."""

KEY_ID = r"^[A-Za-z0-9._:=+-]{1,128}\Z"
"""A `kid` that is safe wherever it may end up: no slash, quote or space."""

CREDENTIALS = re.compile(rb"bearer +(([\w-]+)\.([\w-]+)\.([\w-]+))", re.IGNORECASE)
"""RFC 9110, section 11.4; for bytes, `\\w` is ASCII."""

REFUSED_HEADERS = frozenset(("crit", "b64", "jku", "jwk", "x5u", "x5c"))
"""Headers that change what is verified, or bring the key along."""

TYPES = ("jwt", "at+jwt")


class Malformed(ValueError):
    """A token that no issuer of ours would make. The message quotes nothing of it."""


class Unverified(msgspec.Struct, frozen=True):
    """What a well-formed token says of itself. `expires` is in epoch seconds."""

    token: bytes
    key_id: str | None
    subject: UUID
    expires: float


def read_bearer(authorization: bytes, algorithms: tuple[str, ...]) -> Unverified:
    """The token in the Authorization header's value.

    Raises Malformed, or what the parsers raise: any other ValueError, RecursionError.
    """
    within = len(authorization) <= len("Bearer ") + TOKEN_BYTES
    match = CREDENTIALS.fullmatch(authorization) if within else None
    if match is None:
        raise Malformed("no bearer token of three segments")
    header, claims = _members(match[2]), _members(match[3])
    _decoded(match[4])

    if header.get("alg") not in algorithms:
        raise Malformed("alg is not one of this service's")
    if not REFUSED_HEADERS.isdisjoint(header):
        raise Malformed("a header that is not supported")
    if "typ" in header and str(header["typ"]).lower().removeprefix("application/") not in TYPES:
        raise Malformed("typ is neither JWT nor at+jwt")
    key_id = header.get("kid")
    if "kid" in header and not (isinstance(key_id, str) and re.search(KEY_ID, key_id)):
        raise Malformed("kid is not a plain name")

    for claim in ("exp", "nbf", "iat"):
        if claim in claims and type(claims[claim]) not in (int, float):  # a bool is an int to isinstance
            raise Malformed(f"{claim} is not a number")
    expires = claims.get("exp", 0)
    if not 0 < expires < time.time() + LONGEST_LIFE:
        raise Malformed("exp is absent or out of all proportion")
    subject = str(claims.get("sub"))
    user = UUID(subject)  # which takes braces, urn: and no dashes too
    if str(user) != subject.lower():
        raise Malformed("sub is not a UUID in 36 characters")
    return Unverified(match[1], key_id, user, expires)


def _decoded(segment: bytes) -> bytes:
    data = urlsafe_b64decode(segment + b"==")
    if urlsafe_b64encode(data).rstrip(b"=") != segment:  # one token, one spelling
        raise Malformed("base64url that is not canonical")
    return data


def _members(segment: bytes) -> dict[str, Any]:
    text = _decoded(segment).decode()
    if text.count("[") + text.count("{") > BRACKETS:
        raise Malformed("more lists and objects than claims need")
    members = STRICT_JSON.decode(text)
    if not isinstance(members, dict):
        raise Malformed("a segment is not a JSON object")
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Malformed("a member twice")  # readers differ in which one they take
    return members


def _no_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON")


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
