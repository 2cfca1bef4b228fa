"""The command line of the load: `python -m load --help`."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from load.samples import Sample, sample, verdict
from load.target import Target, named, own
from service.dev.postgres import PostgresError
from service.settings import ROOT

PYTHON = ROOT / ".venv-load" / "bin" / "python"
REPORTS = ROOT / "reports"

SAMPLES = 30
"""Of the service in a soak."""


def main() -> None:
    """Lets the users in, and ends with status 1 when the service was not up to them."""
    parser = argparse.ArgumentParser(
        prog="python -m load",
        description="Puts load on a service of its own, or on the one at LOAD_HOST with the tokens in LOAD_TOKENS.",
    )
    parser.add_argument("--soak", action="store_true", help="longer, and see whether memory and connections stay flat")
    parser.add_argument("--users", type=int, default=50, help="at once (%(default)s)")
    parser.add_argument("--minutes", type=float, help="how long (1, or 10 for a soak)")
    parser.add_argument("--max-p95", type=float, default=100, metavar="MS", help="milliseconds (%(default)s)")
    parser.add_argument("--max-error-rate", type=float, default=0, metavar="PERCENT", help="of requests (%(default)s)")
    arguments = parser.parse_args()
    arguments.minutes = arguments.minutes or (10 if arguments.soak else 1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is running is ended in any case
    try:
        with ExitStack() as stack:
            target = named(os.environ) or stack.enter_context(own(arguments.users))
            if arguments.soak and not target.metrics:
                parser.error("--soak needs LOAD_METRICS: where each worker's metrics are, with spaces between")
            locust = stack.enter_context(people(target, arguments))
            samples = watch(locust, target, arguments.minutes) if arguments.soak else []
            failed = locust.wait() != 0
    except PostgresError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if len(samples) >= 3:
        flat, words = verdict(samples)
        print(words)
        failed |= not flat
    sys.exit(failed)


@contextmanager
def people(target: Target, arguments: argparse.Namespace) -> Iterator[subprocess.Popen[bytes]]:
    """Locust with all its users, which prints what it saw and writes a report."""
    report = REPORTS / ("soak.html" if arguments.soak else "load.html")
    command = [
        *(str(PYTHON), "-m", "locust", "-f", str(ROOT / "load" / "locustfile.py"), "--host", target.host),
        *("--headless", "--only-summary", "--loglevel", "WARNING", "--html", str(report), "--stop-timeout", "10"),
        *("--users", str(arguments.users), "--spawn-rate", "10", "--run-time", f"{60 * arguments.minutes:.0f}s"),
        *("--max-p95", str(arguments.max_p95), "--max-error-rate", str(arguments.max_error_rate)),
    ]
    REPORTS.mkdir(exist_ok=True)
    print(f"{arguments.users} users on {target.host} for {arguments.minutes:g} min; report: {report}", flush=True)
    environment = {**os.environ, "LOAD_TOKENS": str(target.tokens)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)  # Ctrl-C is for us to pass on, once
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def watch(process: subprocess.Popen[bytes], target: Target, minutes: float) -> list[Sample]:
    """Samples of the service while the process runs, printed as they come."""
    samples = []
    started = time.monotonic()
    while True:
        try:
            process.wait(60 * minutes / SAMPLES)
        except subprocess.TimeoutExpired:
            samples.append(sample(target.metrics, started))
            print(samples[-1], flush=True)
        else:
            return samples


if __name__ == "__main__":
    main()
