"""The target of a request: it is parsed in the same way as by httptools."""

import httptools
import pytest

from service.edge.request_head import _path_and_query

TARGETS = [
    b"/",
    b"/a/b?c=d&e",
    b"/a?b?c/d",
    b"/a?",
    b"/?",
    b"//a//b?c",
    b"/a?b#c",
    b"/a#b?c",
    b"/#",
    b"/http://user@host:1/p",
    b"http://host/p?q",
    b"http://host",
    b"*",
    b"a?b",
    b"?b",
    b"",
    b"/a?b\n",
    *(b"/a" + bytes([code]) + b"b?c" for code in range(256)),
    *(b"/a?b" + bytes([code]) + b"c" for code in range(256)),
]


def test_path_and_query_are_those_of_the_library() -> None:
    for target in TARGETS:
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            with pytest.raises(httptools.HttpParserInvalidURLError):
                _path_and_query(target)
        else:
            assert _path_and_query(target) == (url.path or b"/", url.query or b""), target
