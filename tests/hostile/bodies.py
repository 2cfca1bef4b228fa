"""Hostile bodies, with a valid token."""

import json

from tests.hostile.row import Row, call

LIMIT = 1_048_576

TEXTS = [
    "'); drop table tasks; --",
    "$1 %s {{7*7}} ${7*7} <%= 7*7 %>",
    "<script>alert(1)</script>",
    "\u202e\u2066bidi\u2069 \u200b\ufeff\ufffe",
    "\\u0000 \\x00 %00",
    "=cmd|' /C calc'!A0",
    "\x01\x1b[31m\x7f\x85\u2028",
]
"""Texts with a meaning in other languages. They are stored unchanged."""


def post(what: str, status: int, body: bytes | str, *headers: str) -> Row:
    """A body for create_task."""
    return call(what, status, "POST", "{tasks}", *headers, body=body if isinstance(body, bytes) else body.encode())


def title(what: str, status: int, text: str) -> Row:
    """A title, as JSON."""
    return post(what, status, '{"title": ' + text + "}")


def member(what: str, status: int, text: str) -> Row:
    """An unknown member, as JSON."""
    return post(what, status, '{"title": "x", "more": ' + text + "}")


ROWS = [
    call("45 no body", 422, "POST", "{tasks}"),
    post("45 null", 422, "null"),
    post("45 list", 422, "[]"),
    post("45 string", 422, '"x"'),
    post("45 number", 422, "7"),
    call("45 list to update", 422, "PUT", "{task}", body=b"[]"),
    call("45 nothing to update", 422, "PUT", "{task}", body=b"{}"),
    call("45 list to complete", 422, "PATCH", "{task}/complete", body=b"[]"),
    call("45 null to complete", 422, "PATCH", "{task}/complete", body=b'{"completed": null}'),
    call("45 blanks to complete", 422, "PATCH", "{task}/complete", body=b" "),
    post("46 byte order mark", 201, '\ufeff{"title": "x"}'),
    post("46 UTF-16", 422, '{"title": "x"}'.encode("utf-16")),
    post("46 bad UTF-8", 422, b'{"title": "\xff"}'),
    post("46 bad UTF-8 in a name", 422, b'{"title": "x", "\xff": 0}'),
    post("46 bad UTF-8 not read", 422, b'{"title": "x", "more": "\xff"}'),
    post("46 overlong UTF-8", 422, b'{"title": "\xc0\xaf"}'),
    post("46 a surrogate in UTF-8", 422, b'{"title": "\xed\xa0\x80"}'),
    title("47 high surrogate", 422, r'"\ud800"'),
    title("47 low surrogate", 422, r'"\udc00"'),
    title("47 surrogates reversed", 422, r'"\udc00\ud800"'),
    title("47 surrogates in order", 201, r'"\ud83d\ude00"'),
    title("48 U+0000 in the title", 422, r'"a\u0000b"'),
    title("48 499 characters and U+0000", 422, '"' + "a" * 499 + r'\u0000"'),
    post("48 U+0000 in the description", 422, r'{"title": "x", "description": "a\u0000b"}'),
    call("48 U+0000 in an update", 422, "PUT", "{task}", body=rb'{"description": "\u0000"}'),
    title("49 a raw line end", 422, '"a\nb"'),
    title("49 a raw NUL", 422, '"a\0b"'),
    post("50 title twice, bad first", 422, '{"title": "", "title": "x"}'),
    post("50 title twice, both good", 201, '{"title": "x", "title": "y"}'),
    post("50 title twice, bad last", 422, '{"title": "x", "title": ""}'),
    post("51 what is the server's", 201, '{"title": "x", "user_id": 1, "id": [], "created_at": {}, "__proto__": {}}'),
    post("52 title missing", 422, "{}"),
    title("52 title null", 422, "null"),
    title("52 title int", 422, "1"),
    title("52 title object", 422, '{"$ne": ""}'),
    title("52 title empty", 422, '""'),
    title("52 title of 500", 201, '"' + "x" * 500 + '"'),
    title("52 title of 501", 422, '"' + "x" * 501 + '"'),
    title("52 title of 500 emoji", 201, '"' + "😀" * 500 + '"'),
    title("52 title of 501 emoji", 422, '"' + "😀" * 501 + '"'),
    title("52 title of 251 decomposed", 422, '"' + "e\u0301" * 251 + '"'),
    title("52 title of zero width", 201, '"\u200b"'),
    title("52 title blank", 422, r'" \t\n\u3000\u2028"'),
    title("53 1,000,000 digits", 422, "9" * 1_000_000),
    title("53 1e400", 422, "1e400"),
    title("53 NaN", 422, "NaN"),
    member("53 1,000,000 digits not read", 201, "9" * 1_000_000),
    member("53 1e400 not read", 201, "1e400"),
    member("53 NaN not read", 422, "NaN"),
    member("54 100,000 deep", 422, "[" * 100_000 + "]" * 100_000),
    member("54 100,000 deep, open", 422, "[" * 100_000),
    member("54 100,000 objects deep", 422, '{"":' * 100_000),
    post("55 100,000 members", 201, '{"title": "x"' + "".join(f',"{n}":0' for n in range(100_000)) + "}"),
    post("56 a name of 1 MB", 422, '{"' + "k" * 1_000_000 + '": 1}'),
    post("56 a title of 1 MB", 422, '{"title": "' + "k" * 1_000_000 + '"}'),
    post("57 text behind it", 422, '{"title": "x"} x'),
    post("57 two documents", 422, '{"title": "x"}{"title": "y"}'),
    post("57 a comment", 422, '{"title": "x" /* y */}'),
    post("57 a comma too many", 422, '{"title": "x",}'),
    post("57 cut short", 422, '{"title": "x"'),
    post("58 over the limit", 413, b" " * (LIMIT + 1)),
    post("58 over the limit, says Content-Length", 413, b"{", f"Content-Length: {LIMIT + 1}"),
    post("58 over the limit, says Content-Length 10**18", 413, b"{", f"Content-Length: {10**18}"),
    post(
        "58 over the limit in chunks", 413, b"100000\r\n" + b" " * LIMIT + b"\r\n1\r\n ", "Transfer-Encoding: chunked"
    ),
    post("58 over the limit, and not yet sent", 413, b"", f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"),
    post("58 at the limit", 201, b'{"title": "x"}'.ljust(LIMIT)),
    post("59 Content-Type of a form", 201, '{"title": "x"}', "Content-Type: application/x-www-form-urlencoded"),
    post("59 two of Content-Type", 201, '{"title": "x"}', "Content-Type: text/plain", "Content-Type: a/b"),
    post("59 charset utf-16", 201, '{"title": "x"}', "Content-Type: application/json; charset=utf-16"),
    post("59 a form", 422, "title=x", "Content-Type: application/x-www-form-urlencoded"),
    post("59 Content-Encoding gzip", 415, b"\x1f\x8b\x08", "Content-Encoding: gzip"),
    post("59 Content-Encoding twice", 415, b"{}", "Content-Encoding: gzip, identity"),
    post("59 Content-Encoding identity", 201, '{"title": "x"}', "Content-Encoding: Identity"),
    *(title(f"60 {text!r}", 201, json.dumps(text)) for text in TEXTS),
]
