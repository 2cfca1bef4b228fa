"""The supervisor replaces workers when they end or at SIGHUP, and stops them together."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from service.settings import ROOT
from service.supervisor import STARTUP_FAILURE
from tests.serving import until


@contextmanager
def supervised(folder: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.supervised", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            print(process.communicate(timeout=30)[1])  # shown with a failure


def alive(folder: Path) -> set[int]:
    """The process ids of the workers that run."""
    pids = {int(path.stem) for path in folder.glob("*.worker")}
    running = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.add(pid)
    return running


def test_worker_that_is_killed_is_replaced_and_sigterm_stops_all(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        until(lambda: len(alive(tmp_path)) == 2)
        first, second = alive(tmp_path)
        psutil.Process(first).kill()
        until(lambda: len(alive(tmp_path)) == 2 and first not in alive(tmp_path))
        assert second in alive(tmp_path)
        process.terminate()
        assert process.wait(10) == 0
    assert not alive(tmp_path)


def test_worker_that_cannot_start_ends_the_parent(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with supervised(tmp_path) as process:
        assert process.wait(10) == STARTUP_FAILURE


def test_sighup_replaces_every_worker(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        until(lambda: len(alive(tmp_path)) == 2)
        before = alive(tmp_path)
        process.send_signal(signal.SIGHUP)
        until(lambda: len(alive(tmp_path)) == 2 and not alive(tmp_path) & before)
        process.terminate()
        assert process.wait(10) == 0
    assert not alive(tmp_path)


def test_sighup_keeps_the_workers_when_a_replacement_cannot_start(tmp_path: Path) -> None:
    with supervised(tmp_path) as process:
        until(lambda: len(alive(tmp_path)) == 2)
        before = alive(tmp_path)
        (tmp_path / "broken").touch()
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        assert "cannot start: the other workers are not replaced" in process.stderr.readline()
        assert alive(tmp_path) == before
