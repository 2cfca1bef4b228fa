"""The soak's view of a service, and its judgement, on a real one and on made-up runs."""

import time
from typing import Any

import pytest

from load.samples import Sample, sample, verdict
from load.target import named
from tests.ports import free_port, listens
from tests.serving import serving, until


def test_soak_sees_memory_connections_and_other_descriptors(database: str) -> None:
    port = free_port()
    with serving(database_url=database, metrics_port=port) as api:
        until(lambda: listens(port) and api.pool().get("open") == 2)
        address = f"http://127.0.0.1:{port}/metrics"

        one, two = (sample([address] * workers, time.monotonic() - 90) for workers in (1, 2))

    assert one.minutes == pytest.approx(1.5, abs=0.1)
    assert one.memory > 10
    assert one.others > 5
    assert (one.connections, two.connections) == (2, 4)


def run(**leak: float) -> list[Sample]:
    """Thirty samples of a service that warms up for the first of ten minutes, and leaks so much a minute."""
    settled = {"memory": 80.0, "connections": 5.0, "others": 30.0}
    return [
        Sample(minutes, **{name: held + leak.get(name, 0) * minutes - (minutes < 1) for name, held in settled.items()})
        for minutes in (third / 3 for third in range(30))
    ]


@pytest.mark.parametrize("leak", [{}, {"memory": 0.5}, {"memory": -3}, {"connections": 1}])
def test_soak_calls_a_service_flat_that_settles(leak: dict[str, Any]) -> None:
    flat, words = verdict(run(**leak))

    assert flat, words
    assert words.endswith(": flat")


@pytest.mark.parametrize("leak", [{"memory": 2}, {"connections": 2}, {"others": 1}])
def test_soak_sees_what_grows(leak: dict[str, Any]) -> None:
    flat, words = verdict(run(**leak))

    assert not flat, words
    assert words.endswith(": GROWING")


def test_load_goes_where_load_host_says(tmp_path: Any) -> None:
    environment = {"LOAD_HOST": "https://tasks.example/", "LOAD_METRICS": "http://a:9100/metrics http://b:9100/metrics"}

    assert named({}) is None
    with pytest.raises(SystemExit, match="LOAD_TOKENS"):
        named(environment)
    target = named(environment | {"LOAD_TOKENS": "tokens.txt"})
    assert target is not None
    assert target.host == "https://tasks.example"
    assert target.tokens.is_absolute()
    assert len(target.metrics) == 2
