"""The command line of the bench: `python -m bench --help`."""

import argparse
import signal
import sys
from contextlib import ExitStack

from bench.against import comparison, two_states
from bench.database import running_server
from bench.report import line
from bench.rounds import Plan, turns
from bench.subjects import SUBJECTS, migrate
from bench.traffic import OPERATIONS
from service.embedded_postgres import PostgresError


def main() -> None:
    """Measures what is asked for; prints each turn as it comes, and the tables at the end."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What a request costs.")
    parser.add_argument("--ops", default=",".join(OPERATIONS), help="operations (%(default)s)")
    parser.add_argument("--connections", default="1,50,500", help="numbers of connections (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, whose median counts (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn (%(default)s)")
    parser.add_argument("--warmup", type=float, default=1, help="seconds of load before it (%(default)s)")
    parser.add_argument("--against", metavar="REV", help="compare the files here with commit REV, or two: REV..REV")
    arguments = parser.parse_args()
    operations = arguments.ops.split(",")
    if unknown := set(operations) - OPERATIONS.keys():
        parser.error(f"no such operation: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is running is ended in any case
    try:
        with ExitStack() as stack:
            subjects = (
                stack.enter_context(two_states(arguments.against)) if arguments.against else list(SUBJECTS.values())
            )
            connections = [int(number) for number in arguments.connections.split(",")]
            plan = Plan(subjects, operations, connections, arguments.rounds, arguments.seconds, arguments.warmup)
            server = stack.enter_context(running_server())
            for subject in subjects:
                server.create(subject.database)
                migrate(subject, server.url(subject.database))
            done = []
            for turn in turns(plan, server):
                print(line(turn), flush=True)
                done.append(turn)
        if arguments.against:
            print(comparison(done))
    except PostgresError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
