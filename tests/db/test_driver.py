"""A release of asyncpg that lacks a private part which the service uses."""

from pathlib import Path
from typing import Any

import pytest

from service.db import connector, driver
from tests.serving import serving


class WithoutProtocol:
    """A connection of asyncpg without the attribute `_protocol`."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        if name == "_protocol":
            raise AttributeError("'Connection' object has no attribute '_protocol'")
        return getattr(self._original, name)


def test_operations_work_without_the_private_parts_of_asyncpg(
    database: str, printed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_connection = driver.open_connection

    async def open_without_protocol(*arguments: Any) -> Any:
        return WithoutProtocol(await open_connection(*arguments))

    monkeypatch.setattr(connector, "open_connection", open_without_protocol)
    driver._warn_of_slow_calls.cache_clear()
    with serving(database_url=database, log_level="warning", pool_min_size=3) as api:
        api.fill()
        ada = api.caller()
        task = ada.create(title="x").json()
        assert ada.get(task["id"]).json() == task
        assert ada.list().json() == [task]
        assert ada.update(task["id"], title="y").json()["title"] == "y"
        assert ada.complete(task["id"]).json()["completed"] is True
        assert ada.delete(task["id"]).status_code == 204
        assert ada.get(task["id"]).status_code == 404
    assert printed.read_text().count("is unlike the releases that were tested") == 1
