"""Conditional requests: entity tags of tasks and lists, If-Match and If-None-Match. RFC 9110, sections 8.8 and 13."""

import re

from xxhash import xxh64_intdigest

from service.api.payloads import JSON, RequestHeaders, Response
from service.api.problems import Headers, invalid

ONE_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ANY_OR_TAGS = rb"\s*(?:\*|" + ONE_TAG + rb"(?:\s*,\s*" + ONE_TAG + rb")*)\s*"
TAGS = re.compile(ANY_OR_TAGS).fullmatch
TAG = re.compile(rb"\*|" + ONE_TAG)
VERSION = re.compile(rb'"([1-9][0-9]{0,9})"').fullmatch


def task_tag(version: int) -> Headers:
    """The ETag of a task: its version, which every edit moves."""
    return ((b"etag", b'"%d"' % version),)


def list_tag(body: bytes, headers: Headers) -> Headers:
    """The ETag of a list: a checksum, for the tasks' versions alone do not show which are gone.

    Of its headers too, for a page that was the last may get a Link to the next. XXH64 because a list of 20 costs 3 us
    more with XXH3, whose wide registers slow down what comes after it, and 1 us more with CRC-32.
    """
    checksum = xxh64_intdigest(body)
    for _, value in headers:
        checksum = xxh64_intdigest(value, checksum)
    return ((b"etag", b'W/"%x"' % checksum),)


def parse_if_match(headers: RequestHeaders) -> list[str] | None:
    """The versions that If-Match allows a write to find; None for any. Raises Problem(INVALID)."""
    value = headers.get(b"if-match")
    if value is None:
        return None
    tags = _tags(value, "If-Match")
    if tags == [b"*"]:
        return None
    versions = map(VERSION, tags)  # weak tags never match here: RFC 9110, section 13.1.1
    return [version[1].decode() for version in versions if version]


def parse_if_none_match(headers: RequestHeaders) -> list[bytes]:
    """What If-None-Match says that the caller has. Raises Problem(INVALID)."""
    value = headers.get(b"if-none-match")
    return [] if value is None else [tag.removeprefix(b"W/") for tag in _tags(value, "If-None-Match")]


def not_modified_or(known: list[bytes], tag: Headers, body: bytes, headers: Headers = JSON) -> Response:
    """200 with the body and its ETag, or 304 when the caller has that."""
    if known and (b"*" in known or tag[0][1].removeprefix(b"W/") in known):
        return Response(304, headers=tag)
    return Response(200, body, headers + tag)


def _tags(value: bytes, name: str) -> list[bytes]:
    if not TAGS(value):
        raise invalid(["header", name], "is neither * nor a list of entity tags in quotes", "entity_tag")
    return TAG.findall(value)
