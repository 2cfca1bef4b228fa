"""Conditional requests: entity tags of tasks and lists, If-Match and If-None-Match. RFC 9110, sections 8.8 and 13."""

import re

import msgspec
from xxhash import xxh64_intdigest

from service.api.payloads import JSON, RequestHeaders, Response
from service.api.problems import PRECONDITION_FAILED, Headers, Problem, invalid

ONE_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ANY_OR_TAGS = rb"(?:\s*\*\s*|[\s,]*" + ONE_TAG + rb"(?:\s*,[\s,]*" + ONE_TAG + rb")*[\s,]*)"
"""`*`, or a list of tags. Empty elements are ignored (RFC 9110, section 5.6.1)."""

is_tag_list = re.compile(ANY_OR_TAGS).fullmatch
find_tags = re.compile(ONE_TAG).findall

ANY = frozenset((b"*",))

opaque_tag = re.compile(rb'(?:W/)?"([0-9a-f]+)(?:(?:--?|;)[a-z0-9]+)?"').fullmatch
"""A tag of this service as it was sent, or as a proxy that compresses has changed it.

nginx and HAProxy make "4" weak (W/"4"); Apache, Jetty and others add "-gzip", ";gzip", "--gzip" or "-br". All of these
still name version 4. RFC 9110, section 13.1.1, compares If-Match strongly, because a weak tag may stand for several
representations. Here it does not: the version alone is compared, and a proxy cannot change it. Without this, every
conditional write through such a proxy would be 412.
"""

is_version = re.compile(rb"[1-9][0-9]{0,9}").fullmatch
LARGEST_VERSION = 2**31 - 1
"""The largest value of the column."""


def version_tag(version: int) -> bytes:
    """The ETag of a version."""
    return b'"%d"' % version


def list_tag(body: bytes, link: bytes) -> bytes:
    """The ETag of a list: a checksum, since the versions of its tasks do not show which tasks were deleted.

    It covers the Link header, which a last page gets when another page follows. XXH64: a list of 20 costs 3 us more
    with XXH3, whose wide registers slow down the code after it, and 1 us more with CRC-32.
    """
    return b'W/"%x"' % xxh64_intdigest(link, xxh64_intdigest(body))


class Conditions(msgspec.Struct, frozen=True):
    """The tags in If-Match and If-None-Match, without what proxies add: ANY for `*`, None for an absent header."""

    if_match: frozenset[bytes] | None
    if_none_match: frozenset[bytes] | None

    @property
    def any_version(self) -> bool:
        """Whether If-Match allows every version."""
        return self.if_match is None or self.if_match == ANY

    def exclude(self, tag: bytes) -> bool:
        """Whether If-None-Match names `tag`."""
        return self.if_none_match is not None and (self.if_none_match == ANY or tag in self.if_none_match)

    def versions(self) -> list[str]:
        """The versions that If-Match names and If-None-Match does not, as decimal numbers that the column can hold."""
        named = [tag for tag in self.if_match or () if is_version(tag) and not self.exclude(tag)]
        return [tag.decode() for tag in named if int(tag) <= LARGEST_VERSION]


def parse_conditions(headers: RequestHeaders) -> Conditions | None:
    """The request's conditions, None if it has none. Raises Problem(INVALID)."""
    if b"if-match" not in headers and b"if-none-match" not in headers:
        return None
    return Conditions(_tags(headers, "If-Match"), _tags(headers, "If-None-Match"))


def _tags(headers: RequestHeaders, name: str) -> frozenset[bytes] | None:
    value = headers.get(name.lower().encode())
    if value is None:
        return None
    if not is_tag_list(value):
        raise invalid(["header", name], "entity_tag")
    return frozenset(map(_opaque, find_tags(value))) or ANY


def _opaque(tag: bytes) -> bytes:
    ours = opaque_tag(tag)
    return ours[1] if ours else tag


def conditional_response(conditions: Conditions | None, tag: bytes, body: bytes, headers: Headers = ()) -> Response:
    """200 with the body, or 304 if the client has it already. Both have the ETag and `headers`.

    Raises Problem(PRECONDITION_FAILED) if If-Match does not name the tag.
    """
    headers = (*headers, (b"etag", tag))
    if conditions is not None:
        opaque = _opaque(tag)
        if not conditions.any_version and opaque not in (conditions.if_match or ()):
            raise Problem(PRECONDITION_FAILED)
        if conditions.exclude(opaque):
            return Response(304, headers=headers)
    return Response(200, body, JSON + headers)
