"""Samples of the memory, connections and file descriptors of a service, to find leaks in a soak test."""

import time
import urllib.request
from collections.abc import Sequence
from statistics import median

import msgspec
from prometheus_client.parser import text_string_to_metric_families

BOUNDS = {"memory": 4, "connections": 5, "descriptors": 2}
"""The maximum growth of each figure from the second to the last third of a run. The first third is warm-up."""


class Sample(msgspec.Struct):
    """The totals of all workers, `minutes` after the start: memory in MiB, database connections, other descriptors.

    A connection that leaked from the pool counts in `descriptors`.
    """

    minutes: float
    memory: float
    connections: float
    descriptors: float

    def __str__(self) -> str:
        return (
            f"{self.minutes:6.1f} min   memory {self.memory:6.1f} MiB   "
            f"connections to the database {self.connections:3.0f}   other open descriptors {self.descriptors:4.0f}"
        )


def sample(metrics: Sequence[str], started: float) -> Sample:
    """A sample of the workers at these addresses; `started` is by the monotonic clock. Raises OSError."""
    totals = dict.fromkeys(
        ("process_resident_memory_bytes", "task_service_database_connections", "process_open_fds"), 0.0
    )
    for address in metrics:
        with urllib.request.urlopen(address, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        for family in families:
            if family.name in totals:
                totals[family.name] += sum(series.value for series in family.samples)
    memory, connections, descriptors = totals.values()
    return Sample((time.monotonic() - started) / 60, memory / 2**20, connections, descriptors - connections)


def verdict(samples: Sequence[Sample]) -> tuple[bool, str]:
    """Whether a run of three samples or more stayed within BOUNDS, and a line that explains it.

    Memory and descriptors are compared by their medians, connections by their peaks: they come and go with the load.
    """
    third = len(samples) // 3
    grown = {}
    for name in BOUNDS:
        held = [getattr(each, name) for each in samples]
        measure = max if name == "connections" else median
        grown[name] = measure(held[-third:]) - measure(held[-2 * third : -third])
    flat = all(grown[name] <= most for name, most in BOUNDS.items())
    changes = ", ".join(f"{name} {grown[name]:+.1f} (at most {most:+})" for name, most in BOUNDS.items())
    return flat, f"last third against the third before: {changes}: {'flat' if flat else 'GROWING'}"
