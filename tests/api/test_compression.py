"""Compressed lists: each encoding, HEAD, and a client that leaves."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import brotli
import pytest

from tests.serving import Api, Caller, serving, until
from tests.wire import Wire, request

if sys.version_info >= (3, 14):
    from compression.zstd import decompress as zstd_decompress
else:
    import zstandard

    def zstd_decompress(data: bytes) -> bytes:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd_decompress,
}

encodings = pytest.mark.parametrize("encoding", DECOMPRESS)


@pytest.fixture
def long_list(ada: Caller, rows: Callable[..., list[Any]]) -> Caller:
    ada.create(title="the first")
    rows(
        """insert into tasks (user_id, title, description)
        select %s, 'task ' || n, (select string_agg(md5(n || ' ' || m), '') from generate_series(1, 60) as m)
        from generate_series(1, 1200) as n""",
        ada.id,
    )
    return ada


def compressed(api: Api, caller: Caller, query: str, encoding: str) -> tuple[Any, bytes]:
    headers = {"Authorization": f"Bearer {caller.token}", "Accept-Encoding": encoding}
    with api.anonymous.stream("GET", caller.tasks + query, headers=headers) as response:
        return response, b"".join(response.iter_raw())


@encodings
@pytest.mark.parametrize("query", ["", "?limit=20"])
def test_list_tasks_of_many_is_compressed_as_accepted(api: Api, long_list: Caller, query: str, encoding: str) -> None:
    plain = long_list.request("GET", long_list.tasks + query, headers={"Accept-Encoding": "identity"})

    response, raw = compressed(api, long_list, query, encoding)

    assert response.headers["content-encoding"] == encoding
    assert "accept-encoding" in response.headers["vary"].lower()
    assert len(raw) < len(plain.content) / 1.5
    assert DECOMPRESS[encoding](raw) == plain.content


@encodings
@pytest.mark.parametrize("query", ["", "?limit=20"])
def test_list_tasks_is_answered_for_head_with_each_encoding(
    api: Api, long_list: Caller, query: str, encoding: str
) -> None:
    fields = (f"Authorization: Bearer {long_list.token}", f"Accept-Encoding: {encoding}")
    with Wire(api.address) as wire:
        for _ in range(2):
            answer = wire.send(request("HEAD", long_list.tasks + query, *fields)).answer("HEAD")
            assert (answer.status, answer.headers["content-encoding"]) == (200, encoding)


@encodings
def test_client_that_disconnects_during_a_compressed_list_is_not_an_error(
    database: str, long_list: Caller, encoding: str, printed: Path
) -> None:
    with serving(database_url=database, log_level="info") as api:
        caller = api.caller(UUID(long_list.id))
        fields = (f"Authorization: Bearer {caller.token}", f"Accept-Encoding: {encoding}")
        with Wire(api.address, receive_buffer=4096) as wire:
            wire.send(request("GET", caller.tasks, *fields))
            assert wire.socket.recv(1)
        until(lambda: "list_tasks" in printed.read_text())

    lines = [json.loads(line) for line in printed.read_text().splitlines()]
    assert [line["status"] for line in lines if line.get("operation") == "list_tasks"] == [200]
    assert not [line for line in lines if line["level"] == "error"]


def test_list_tasks_of_few_is_not_compressed(ada: Caller) -> None:
    ada.create(title="x")

    assert "content-encoding" not in ada.list().headers
