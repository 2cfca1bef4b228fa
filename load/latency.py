"""The latencies of the open loop, compared with the bounds of the locustfile."""

import ast
from array import array
from collections import defaultdict
from collections.abc import Sequence
from math import ceil
from pathlib import Path

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
DIFFERENCE = """\
From its scheduled start, a request also counts the time in which it could not be sent because earlier answers were
late; a client that sends only after an answer does not measure that time (coordinated omission)."""


class Latencies:
    """The latencies of one operation in seconds: from the scheduled start and from the send, to the response."""

    def __init__(self) -> None:
        self.scheduled = array("d")
        self.sent = array("d")
        self.failures = 0


class Results(defaultdict[str, Latencies]):
    """The latencies of each operation."""

    def __init__(self, tolerance: float = 1) -> None:
        super().__init__(Latencies)
        self._tolerance = tolerance

    def __str__(self) -> str:
        """The figures of each operation and of all, in milliseconds."""
        total = Latencies()
        for latencies in self.values():
            total.scheduled.extend(latencies.scheduled)
            total.sent.extend(latencies.sent)
            total.failures += latencies.failures
        names = "".join(f"{name:>9}" for name in ("p50", "p95", "p99", "max"))
        lines = [
            f"{'':32}{'from the scheduled start, ms':^36}{'from the send, ms':^36}".rstrip(),
            f"{'operation':14}{'requests':>10}{'errors':>8}{names}{names}",
        ]
        for operation, latencies in [*sorted(self.items()), ("all", total)]:
            figures = "".join(f"{figure:9.1f}" for figure in cuts(latencies.scheduled) + cuts(latencies.sent))
            counts = f"{len(latencies.sent):>10,}{latencies.failures:>8,}"
            lines.append(f"{operation:14}{counts}{figures}   {self.result(operation)}".rstrip())
        return "\n".join(lines)

    def result(self, operation: str) -> str:
        """Whether the operation is within its bounds, from the scheduled start; empty when it has none."""
        if operation not in BOUNDS or operation not in self:
            return ""
        latencies = self[operation]
        p95_bound, p99_bound, errors_bound = BOUNDS[operation]
        _, p95, p99, _ = cuts(latencies.scheduled)
        if 100 * latencies.failures > errors_bound * len(latencies.sent):
            return "errors"
        return "too slow" if p95 > p95_bound * self._tolerance or p99 > p99_bound * self._tolerance else "ok"

    def reasons_to_fail(self) -> list[str]:
        """The operations that are not within their bounds."""
        results = {operation: self.result(operation) for operation in sorted(self)}
        return [f"{operation}: {result}" for operation, result in results.items() if result != "ok"] or (
            [] if self else ["nothing was measured"]
        )


def cuts(times: Sequence[float]) -> list[float]:
    """p50, p95, p99 and the maximum of times in seconds, by nearest rank, in milliseconds."""
    ordered = sorted(times) or [0.0]
    return [1000 * ordered[max(0, ceil(len(ordered) * share) - 1)] for share in (0.5, 0.95, 0.99, 1)]


def read_bounds() -> dict[str, tuple[float, float, float]]:
    """The table BOUNDS of the locustfile. It is parsed, because locust is not installed in this environment."""
    for node in ast.parse(LOCUSTFILE.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "BOUNDS":
            bounds: dict[str, tuple[float, float, float]] = ast.literal_eval(node.value)
            return bounds
    raise ValueError("the locustfile has no BOUNDS")


BOUNDS = read_bounds()
