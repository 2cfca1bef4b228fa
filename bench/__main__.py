"""The command line of the benchmark: `python -m bench --help`."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack

from bench import pgbench
from bench.against import comparison, two_states
from bench.database import running_server
from bench.page import page, write
from bench.report import line
from bench.rounds import Plan, runs
from bench.run import Run
from bench.subjects import BASELINES, SEED_PYTHON, migrate, service
from bench.traffic import OPERATIONS
from service.dev.postgres import PostgresError


def main() -> None:
    """Measure what the command line asks for. Exits with status 1 when a response was unexpected."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what a request costs.")
    parser.add_argument("--ops", type=_some_of(OPERATIONS), default=list(OPERATIONS), help=",".join(OPERATIONS))
    parser.add_argument("--beside", type=_some_of(BASELINES), default=list(BASELINES), help=",".join(BASELINES))
    parser.add_argument(
        "--connections", type=_numbers, default=[1, 50, 500], help="numbers of client connections: 1,50,500"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="runs of each subject and operation; their median is reported (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=3, help="length of each run (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and its chart")
    parser.add_argument(
        "--against", metavar="REV", help="compare commit REV with the working tree, or two commits: REV..REV"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that each process that was started is stopped
    try:
        unexpected = bench(arguments)
    except (PostgresError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if unexpected:
        sys.exit(f"error: {unexpected} responses had an unexpected status")


def bench(arguments: argparse.Namespace) -> int:
    """Measure, print each run when it ends and then the tables. Returns the number of unexpected responses."""
    with ExitStack() as stack:
        if arguments.against:
            subjects = stack.enter_context(two_states(arguments.against))
        else:
            subjects = [service(), *(BASELINES[name] for name in arguments.beside)]
        if any(str(SEED_PYTHON) in subject.command for subject in subjects) and not SEED_PYTHON.exists():
            sys.exit("error: .venv-bench is missing; `make bench` makes it")
        server = stack.enter_context(running_server())
        for subject in subjects:
            server.create(subject.database)
            migrate(subject, server.url(subject.database))
        alone = pgbench.PROGRAM is not None and not arguments.against
        plan = Plan(subjects, arguments.ops, arguments.connections, arguments.rounds, arguments.seconds, alone)
        done: list[Run] = []
        for run in runs(plan, server):
            print(line(run), flush=True)
            done.append(run)
        version = server.version()
    if arguments.against:
        print(comparison(done))
    else:
        text = page(done, plan, version)
        print(text)
        if arguments.write:
            write(done, text, plan)
    return sum(run.unexpected for run in done)


def _some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",") if text else []
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}")
        return chosen

    return names


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
