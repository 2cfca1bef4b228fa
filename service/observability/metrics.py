"""Metrics for Prometheus on a port of their own: requests, and the state of the pool, the token cache and the log."""

import asyncio
import logging
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry, ProcessCollector, make_asgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.auth.authenticator import Authenticator
from service.db.connections import CLOSE_SECONDS
from service.db.database import Database
from service.db.failures import FailureLog
from service.edge.uvicorn_interface import standalone_protocol
from service.observability.log import STOP_SECONDS, Output
from service.settings import Settings
from service.version import VERSION, commit

logger = logging.getLogger(__name__)

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram in seconds.

The least is that of a read on an idle machine. The greatest is more than ACQUIRE_TIMEOUT plus STATEMENT_TIMEOUT.
"""

RETRY_SECONDS = 1.0
"""The time between two attempts to find a free port."""


class Metrics(Collector):
    """Counts requests, and reads the state of the pool, the token cache and the log at each scrape.

    `refused` counts, by status, the requests that the edge refuses before an endpoint gets them.
    """

    def __init__(
        self, settings: Settings, authenticator: Authenticator, database: Database, failures: FailureLog, output: Output
    ) -> None:
        self.refused: Counter[int] = Counter()
        self._pool_max_size = settings.pool_max_size
        self._authenticator = authenticator
        self._database = database
        self._failures = failures
        self._output = output
        self._requests: defaultdict[tuple[str, int], list[float]] = defaultdict(lambda: [0] * (len(BOUNDS) + 3))

    def count(self, operation: str, status: int, seconds: float, database_seconds: float) -> None:
        """Count a request that has ended. `database_seconds` is the time for which it waited for database responses."""
        # 0.2 us. The library's histogram takes 1.3 us, or 2.4 us if several processes share it.
        numbers = self._requests[operation, status]
        numbers[bisect_left(BOUNDS, seconds)] += 1
        numbers[-2] += seconds
        numbers[-1] += database_seconds

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their current values."""
        build = GaugeMetricFamily("task_service_build_info", "The release. Always 1.", labels=("version", "commit"))
        build.add_metric((VERSION, commit()), 1)
        yield build
        yield self._request_seconds()
        yield self._database_seconds()
        refused = CounterMetricFamily(
            "task_service_refused_connections", "Requests refused before an endpoint saw them.", labels=("status",)
        )
        yield _with_counts(refused, self.refused)
        unavailable = CounterMetricFamily(
            "task_service_unavailable",
            "Requests that failed for a cause in the database, by SQLSTATE, or by exception where there is none.",
            labels=("reason",),
        )
        yield _with_counts(unavailable, self._failures.counts)
        refusals = CounterMetricFamily("task_service_refused_tokens", "Refused tokens by reason.", labels=("reason",))
        yield _with_counts(refusals, self._authenticator.refusals.counts)
        yield from self._pool()
        cached = self._authenticator.cached_tokens
        yield GaugeMetricFamily("task_service_cached_tokens", "Verified tokens in the cache.", cached)
        yield CounterMetricFamily(
            "task_service_token_cache_misses",
            "Tokens verified because the cache did not have them, valid or not.",
            self._authenticator.misses,
        )
        yield CounterMetricFamily(
            "task_service_dropped_log_lines",
            "Log lines dropped because standard output was not read in time.",
            self._output.dropped,
        )

    def _request_seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "task_service_request_seconds", "Duration of the requests.", labels=("operation", "status")
        )
        for (operation, status), (*numbers, seconds, _) in self._requests.items():
            buckets = list(zip((*map(str, BOUNDS), "+Inf"), accumulate(numbers), strict=True))
            family.add_metric((operation, str(status)), buckets, seconds)
        return family

    def _database_seconds(self) -> Metric:
        family = CounterMetricFamily(
            "task_service_request_database_seconds",
            "Seconds that the requests spent with the database, without the wait for a connection.",
            labels=("operation",),
        )
        seconds: Counter[str] = Counter()
        for (operation, _), numbers in self._requests.items():
            seconds[operation] += numbers[-1]  # type: ignore[assignment]
        return _with_counts(family, seconds)

    def _pool(self) -> Iterator[Metric]:
        pool = self._database
        connections = GaugeMetricFamily(
            "task_service_database_connections", "Connections to the database.", labels=("state",)
        )
        connections.add_metric(("idle",), len(pool.idle))
        connections.add_metric(("busy",), len(pool.connections) - len(pool.idle))
        yield connections
        yield GaugeMetricFamily(
            "task_service_database_connections_max", "The most connections: POOL_MAX_SIZE.", self._pool_max_size
        )
        yield CounterMetricFamily("task_service_read_batches", "Round trips that carried batched reads.", pool.batches)
        yield CounterMetricFamily("task_service_batched_reads", "Reads in those round trips.", pool.batched_reads)
        yield GaugeMetricFamily(
            "task_service_waiting_requests", "Requests that have no connection yet.", pool.waiting_requests
        )
        yield CounterMetricFamily(
            "task_service_acquire_timeouts",
            "Requests refused after ACQUIRE_TIMEOUT without a connection.",
            pool.timeouts,
        )
        yield CounterMetricFamily(
            "task_service_shed_requests", "Requests refused at once because MAX_WAITING requests waited.", pool.shed
        )
        errors = CounterMetricFamily(
            "task_service_database_errors",
            "Failures by class of SQLSTATE; 08 is also a lost or refused connection, 57 also STATEMENT_TIMEOUT.",
            labels=("sqlstate_class",),
        )
        for sqlstate_class, number in pool.errors.items():
            errors.add_metric((sqlstate_class,), number)
        yield errors


def _with_counts(family: CounterMetricFamily, counts: Counter[str] | Counter[int]) -> Metric:
    for label, number in counts.items():
        family.add_metric((str(label),), number)
    return family


async def serve_metrics(metrics: Metrics, settings: Settings) -> None:
    """Serve the metrics until cancelled, on the first free port from METRICS_PORT on: one port for each of WORKERS.

    Workers share no memory, and on one port a scrape would get a random worker, so each worker has its own port.
    prometheus-client's multiprocess mode adds the workers' values in files. But it costs each request 2 us, and does
    not support process metrics and collectors such as this one. A worker that replaces another gets a port when the
    old worker has ended.

    prometheus-client's server starts a thread without a time limit for each client, so this function uses the edge.
    """
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    protocol, connections = standalone_protocol(make_asgi_app(registry))
    ports = range(settings.metrics_port, settings.metrics_port + settings.workers)
    # After SIGHUP, the old worker keeps its port until it has stopped.
    stop_seconds = settings.shutdown_delay + settings.shutdown_timeout + 2 * CLOSE_SECONDS + STOP_SECONDS
    listener = await _listen(protocol, settings.host, ports, warn_after=stop_seconds if settings.workers > 1 else 0.0)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        listener.close()
        for connection in list(connections):
            connection.shutdown()


async def _listen(
    protocol: Callable[[], asyncio.Protocol], host: str, ports: range, warn_after: float
) -> asyncio.Server:
    """Listen on the first free port. Log a warning if there is none for `warn_after` seconds."""
    loop = asyncio.get_running_loop()
    warn_at = loop.time() + warn_after
    while True:
        for port in ports:
            with suppress(OSError):
                return await loop.create_server(protocol, host, port)
        if loop.time() >= warn_at:
            logger.warning("no metrics: free one of the WORKERS ports from METRICS_PORT on, or change METRICS_PORT")
            warn_at = inf
        await asyncio.sleep(RETRY_SECONDS)
