"""The command: runs each scenario, prints a line for it, and fails when a promise was broken."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import uvloop

from tests.faults import (
    client_scenarios,
    edge_scenarios,
    fairness_scenarios,
    network_scenarios,
    pool_scenarios,
    process_scenarios,
    replication_scenarios,
    server_scenarios,
)
from tests.faults.checker import Outcome, judge
from tests.faults.environment import Environment, Skipped
from tests.faults.postgres import prepare

Scenario = Callable[[Environment], Awaitable[None]]

SCENARIOS: list[Scenario] = [
    server_scenarios.backend_killed,
    server_scenarios.terminate_storm,
    server_scenarios.cancel_storm,
    server_scenarios.fast_restart,
    server_scenarios.crash_restart,
    server_scenarios.frozen_server,
    server_scenarios.frozen_backend,
    network_scenarios.black_hole,
    network_scenarios.half_open,
    network_scenarios.refused,
    network_scenarios.slow_network,
    network_scenarios.answer_lost,
    pool_scenarios.pool_exhaustion,
    pool_scenarios.overload,
    pool_scenarios.connection_limit,
    pool_scenarios.row_lock,
    server_scenarios.full_disk,
    replication_scenarios.failover_sync,
    replication_scenarios.failover_async,
    replication_scenarios.standby_gone,
    replication_scenarios.read_only,
    process_scenarios.worker_killed,
    process_scenarios.rolling_stop,
    edge_scenarios.refused_crowd,
    edge_scenarios.unfinished_bodies,
    edge_scenarios.rolling_restart,
    edge_scenarios.haproxy_restart,
    edge_scenarios.nginx_restart,
    edge_scenarios.busy_stop,
    client_scenarios.slow_senders,
    client_scenarios.slow_readers,
    client_scenarios.slow_zstd_readers,
    client_scenarios.vanishing_clients,
    fairness_scenarios.greedy_user,
    fairness_scenarios.heavy_lists,
    fairness_scenarios.refused_writes,
    fairness_scenarios.timed_out_writes,
    process_scenarios.schema_change,
    process_scenarios.migrators,
    process_scenarios.bad_address,
]

COLUMNS = "{:<17} {:>7} {:>6} {:>6} {:>5} {:>10} {:>8} {:>7} {:>8} {:>5}  {}"
HEADINGS = ("fault", "answers", "503", "saved", "lost", "no problem", "slowest", "healed", "restarts", "took", "")

SCENARIO_SECONDS = 60
"""A scenario that takes longer has failed."""


def main() -> None:
    """Run the named scenarios, or all. Exits with status 1 when a promise was broken."""
    names = [scenario.__name__ for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Inject faults and check what the service promises."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    chosen = parser.parse_args().names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    print(COLUMNS.format(*HEADINGS).rstrip())
    began = monotonic()
    broken = []
    with TemporaryDirectory(prefix="faults-") as folder:
        prepare(Path(folder, "prepared"))
        for scenario in SCENARIOS:
            if not chosen or scenario.__name__ in chosen:
                outcome = uvloop.run(outcome_of(scenario, Path(folder)))
                print_outcome(scenario.__name__, outcome)
                if outcome.broken:
                    broken.append(scenario.__name__)
    print(f"{monotonic() - began:.0f} s; promises broken in: {', '.join(broken) or 'none'}")
    sys.exit(bool(broken))


async def outcome_of(scenario: Scenario, folder: Path) -> Outcome:
    """Run one scenario in a new environment."""
    began = monotonic()
    with TemporaryDirectory(dir=folder) as own:
        Path(own).chmod(0o711)  # PostgreSQL may run under another account, which needs to enter the folder
        environment = Environment(folder / "prepared", Path(own))
        try:
            async with asyncio.timeout(SCENARIO_SECONDS), environment.ending:
                await scenario(environment)
                outcome = await judge(environment)
        except Skipped as reason:
            outcome = Outcome(notes=[f"skipped: {reason}"])
        except Exception as error:  # the other scenarios still run
            traceback.print_exc()
            outcome = Outcome(broken=[*environment.broken, f"the scenario failed: {type(error).__name__}: {error}"])
    outcome.took = monotonic() - began
    return outcome


def print_outcome(name: str, seen: Outcome) -> None:
    """Print the scenario's line of the table, and below it the broken promises."""
    slowest, healed = ("-" if time is None else f"{time:.2f} s" for time in (seen.slowest, seen.healed))
    counts = (seen.answers, seen.refused, seen.saved, seen.lost, seen.no_problem)
    notes = "; ".join(seen.notes)
    print(COLUMNS.format(name, *counts, slowest, healed, seen.restarts, f"{seen.took:.0f} s", notes).rstrip())
    for promise in seen.broken:
        print(f"    BROKEN: {promise}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
