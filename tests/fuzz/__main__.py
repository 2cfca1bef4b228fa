"""The command: sends generated inputs to a new service, prints a table, and fails on an unexpected response."""

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from service.db.migrations import migrate
from service.dev.postgres import embedded_postgres
from tests.fuzz import bodies, document, messages, tokens
from tests.fuzz.tally import COLUMNS, HEADINGS, Tally
from tests.hostile.table import shared_secret
from tests.hostile.target import Target

KINDS: dict[str, tuple[Callable[[Target, Tally, int, int], None], int]] = {
    "document": (document.fuzz, 6000),
    "tokens": (tokens.fuzz, 6000),
    "bodies": (bodies.fuzz, 6000),
    "messages": (messages.fuzz, 4000),
}
"""The kinds of input, and the minimum number of cases of each."""


def main() -> None:
    """Try the named kinds, or all. Exits with status 1 on a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Send generated inputs.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(2**32),
        help="the seed of the generator: the same seed gives the same cases (default: random)",
    )
    parser.add_argument("--scale", type=float, default=1, help="factor for the number of cases (default: 1)")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the context managers stop the processes
    print(f"seed {given.seed}")
    print(COLUMNS.format(*HEADINGS))
    began = time.monotonic()
    failures: list[str] = []
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder, "postgres"), {"fsync": "off"}) as url_of:
        migrate(url_of("fuzz"))
        with shared_secret(url_of("fuzz")) as service:
            memory, cases = service.memory(), 0
            for kind in given.kinds or KINDS:
                tally = Tally(kind)
                fuzz, wanted = KINDS[kind]
                fuzz(service, tally, round(wanted * given.scale), given.seed)
                print(tally.row(), flush=True)
                cases += tally.cases
                failures += tally.failures
            if (state := service.state()) != service.state_at_start:
                failures.append(f"Another user's tasks changed, or an error was logged: {state}")
            grown = (service.memory() - memory) / 1e6
    print(f"{cases} cases in {time.monotonic() - began:.0f} s; the service's memory grew by {grown:.0f} MB")
    for failure in failures:
        print(f"\n{failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
