"""Processor time and memory of process trees, as Linux counts them."""

from contextlib import suppress

import msgspec
import psutil


class Reading(msgspec.Struct, frozen=True):
    """Processor time so far, in seconds, and the resident memory of the subject, in MiB."""

    subject: float
    postgres: float
    machine: float
    memory: float


def read(subject: int, postgres: int) -> Reading:
    """Read the processor time of two process trees, given by their root processes, and of the machine."""
    times = psutil.cpu_times()
    memory = 0.0
    for process in _tree(subject):
        with suppress(psutil.NoSuchProcess):
            memory += process.memory_info().rss / 2**20
    return Reading(_seconds(subject), _seconds(postgres), sum(times[:8]) - times.idle - times.iowait, memory)


def _seconds(root: int) -> float:
    """User and system time of the tree at `root`, ended children included."""
    total = 0.0
    for process in _tree(root):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # the last two are of children that have ended
    return total


def _tree(root: int) -> list[psutil.Process]:
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]
