"""The command: makes each fault in turn, prints its line of the table, and fails if a promise broke."""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import uvloop

from tests.faults import client_rows, network_rows, pool_rows, process_rows, replication_rows, server_rows
from tests.faults.checker import Outcome, judge
from tests.faults.postgres import prepare
from tests.faults.stage import Skipped, Stage

Row = Callable[[Stage], Awaitable[None]]

ROWS: list[Row] = [
    server_rows.backend_killed,
    server_rows.terminate_storm,
    server_rows.cancel_storm,
    server_rows.fast_restart,
    server_rows.crash_restart,
    server_rows.frozen_server,
    server_rows.frozen_backend,
    network_rows.black_hole,
    network_rows.half_open,
    network_rows.refused,
    network_rows.slow_network,
    network_rows.answer_lost,
    pool_rows.pool_exhaustion,
    pool_rows.overload,
    pool_rows.connection_limit,
    pool_rows.row_lock,
    server_rows.full_disk,
    replication_rows.failover_sync,
    replication_rows.failover_async,
    replication_rows.standby_gone,
    replication_rows.read_only,
    process_rows.worker_killed,
    process_rows.rolling_stop,
    client_rows.slow_senders,
    client_rows.slow_readers,
    client_rows.vanishing_clients,
    process_rows.schema_change,
    process_rows.migrators,
    process_rows.bad_address,
]

COLUMNS = "{:<17} {:>7} {:>6} {:>6} {:>5} {:>10} {:>8} {:>7} {:>8} {:>5}  {}"
HEADINGS = ("fault", "answers", "503", "saved", "lost", "no problem", "slowest", "healed", "restarts", "took", "")

ROW_SECONDS = 60
"""A fault that is not over by then has broken the service, or itself."""


def main() -> None:
    """Makes the faults that are named, or all. Exits with status 1 when a promise broke."""
    names = [row.__name__ for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Break each dependency in turn.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    chosen = parser.parse_args().names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    print(COLUMNS.format(*HEADINGS).rstrip())
    began = monotonic()
    broken = []
    with TemporaryDirectory(prefix="faults-") as folder:
        prepare(Path(folder, "prepared"))
        for row in ROWS:
            if not chosen or row.__name__ in chosen:
                outcome = uvloop.run(outcome_of(row, Path(folder)))
                print_row(row.__name__, outcome)
                if outcome.broken:
                    broken.append(row.__name__)
    print(f"{monotonic() - began:.0f} s; promises broken in: {', '.join(broken) or 'none'}")
    sys.exit(bool(broken))


async def outcome_of(row: Row, folder: Path) -> Outcome:
    """Makes one fault, on a stage of its own."""
    began = monotonic()
    with TemporaryDirectory(dir=folder) as own:
        Path(own).chmod(0o711)  # PostgreSQL may run as another user, and must get through
        stage = Stage(folder / "prepared", Path(own))
        try:
            async with asyncio.timeout(ROW_SECONDS), stage.ending:
                await row(stage)
                outcome = await judge(stage)
        except Skipped as reason:
            outcome = Outcome(notes=[f"skipped: {reason}"])
        except Exception as error:  # the other faults are still worth making
            traceback.print_exc()
            outcome = Outcome(broken=[*stage.broken, f"it could not be made: {type(error).__name__}: {error}"])
    outcome.took = monotonic() - began
    return outcome


def print_row(name: str, seen: Outcome) -> None:
    """Prints the fault's line of the table, and beneath it the promises that broke."""
    slowest, healed = ("-" if time is None else f"{time:.2f} s" for time in (seen.slowest, seen.healed))
    counts = (seen.answers, seen.refused, seen.saved, seen.lost, seen.no_problem)
    notes = "; ".join(seen.notes)
    print(COLUMNS.format(name, *counts, slowest, healed, seen.restarts, f"{seen.took:.0f} s", notes).rstrip())
    for promise in seen.broken:
        print(f"    BROKEN: {promise}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
