"""The command line of the load tests; the soak test: samples of a real service, and the verdict on invented runs."""

import time
from argparse import ArgumentTypeError, Namespace
from typing import Any

import pytest

from load.__main__ import command, seconds
from load.samples import Sample, sample, verdict
from load.target import Target
from tests.ports import free_port, listens
from tests.serving import serving, until


def test_soak_samples_memory_connections_and_descriptors(database: str) -> None:
    port = free_port()
    with serving(database_url=database, metrics_port=port) as api:
        until(lambda: listens(port) and api.pool().get("open") == 2)
        address = f"http://127.0.0.1:{port}/metrics"

        one, two = (sample([address] * workers, time.monotonic() - 90) for workers in (1, 2))

    assert one.minutes == pytest.approx(1.5, abs=0.1)
    assert one.memory > 10
    assert one.descriptors > 5
    assert (one.connections, two.connections) == (2, 4)


def run(**leak: float) -> list[Sample]:
    """Thirty samples over ten minutes of a service that warms up in the first minute. `leak` is its growth a minute."""
    settled = {"memory": 80.0, "connections": 5.0, "descriptors": 30.0}
    return [
        Sample(minutes, **{name: held + leak.get(name, 0) * minutes - (minutes < 1) for name, held in settled.items()})
        for minutes in (third / 3 for third in range(30))
    ]


@pytest.mark.parametrize("leak", [{}, {"memory": 0.5}, {"memory": -3}, {"connections": 1}])
def test_soak_accepts_a_service_that_settles(leak: dict[str, Any]) -> None:
    flat, words = verdict(run(**leak))

    assert flat, words
    assert words.endswith(": flat")


@pytest.mark.parametrize("leak", [{"memory": 2}, {"connections": 2}, {"descriptors": 1}])
def test_soak_detects_growth(leak: dict[str, Any]) -> None:
    flat, words = verdict(run(**leak))

    assert not flat, words
    assert words.endswith(": GROWING")


TARGET = Target("http://127.0.0.1:4000", "tokens.txt", [])


def chosen(*rest: str, shape: str | None = None, run_time: int | None = None, rate: float | None = None) -> str:
    return " ".join(command(TARGET, Namespace(shape=shape, run_time=run_time, rate=rate), list(rest)))


def test_load_passes_the_options_of_locust_on() -> None:
    line = chosen("--csv", "out", "--processes", "2", "--spawn-rate", "100", run_time=90)

    assert "-m locust" in line
    assert line.endswith(
        "--run-time 90 --headless --only-summary --shape average --csv out --processes 2 --spawn-rate 100"
    )


@pytest.mark.parametrize("option", ["--web-port=8089", "--autostart", "-P"])
def test_load_opens_the_web_page_of_locust_on_request(option: str) -> None:
    assert "--headless" not in chosen(option)
    assert "--shape" not in chosen(option)
    assert "--shape stress" in chosen(option, shape="stress")


def test_load_with_a_rate_is_an_open_loop() -> None:
    assert "load.open_loop" in chosen(rate=2000)
    assert "--rate 2000 --seconds 60" in chosen(rate=2000)
    assert "--rate 500 --seconds 600" in chosen(rate=500, shape="soak")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("20m", 1200), ("1h30m", 5400)])
def test_load_reads_times_as_locust_does(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "m", "1.5h", "-3"])
def test_load_refuses_an_invalid_time(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="1h30m"):
        seconds(text)
