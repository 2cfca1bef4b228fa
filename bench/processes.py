"""What a tree of processes has used: processor time and memory, as Linux counts them."""

from collections.abc import Iterator
from contextlib import suppress

import psutil


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and all under it, those that have ended included."""
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # the last two are those of children that ended
    return total


def resident_mib(pid: int) -> float:
    """The memory that the process and all under it hold."""
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss / 2**20
    return total


def machine_seconds() -> float:
    """Processor time that the whole machine has spent at work since it was started."""
    times = psutil.cpu_times()
    return sum(times[:8]) - times.idle - times.iowait


def _tree(pid: int) -> Iterator[psutil.Process]:
    root = psutil.Process(pid)
    yield root
    yield from root.children(recursive=True)
