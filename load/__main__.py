"""The command line of the load tests: `python -m load --help`."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from load.samples import Sample, sample, verdict
from load.target import Target, own_service
from service.dev.postgres import PostgresError
from service.settings import ROOT

LOCUST = [str(ROOT / ".venv-load" / "bin" / "python"), "-m", "locust", "-f", str(ROOT / "load" / "locustfile.py")]
OPEN_LOOP = [sys.executable, "-m", "load.open_loop"]

SAMPLES = 30
"""The number of samples of the service in a soak test."""

SOAK_SECONDS = 600
WEB = ("--web", "-P", "--autostart", "--headful", "--class-picker")
"""The prefixes of locust's options that open its web page."""

EPILOG = """
All other options are locust's own (locust --help): --users, --run-time, --spawn-rate, --csv, --processes, --master,
--worker, --web-port (for its web page), --html, --tags, names of users, and those of load/locustfile.py (--think-time,
--warm-up, --tolerance). With --rate: --run-time, --connections, --warm-up and --tolerance.
"""


def main() -> None:
    """Runs the load, and exits with status 1 when the service exceeded its bounds."""
    parser = argparse.ArgumentParser(
        prog="python -m load",
        description="Puts load on a new service with an empty database, or on the service that --host names.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("-H", "--host", default=os.environ.get("LOCUST_HOST"), metavar="URL", help="a running service")
    parser.add_argument(
        "--tokens", default=os.environ.get("LOCUST_TOKENS"), metavar="FILE", help="tokens of its users, one a line"
    )
    parser.add_argument(
        "--metrics", default="", metavar="URLS", help="the metrics of its workers, for a soak; separated by spaces"
    )
    parser.add_argument("--shape", help="smoke, average (the default), stress, spike or soak")
    parser.add_argument("-t", "--run-time", type=seconds, metavar="TIME", help="measured time, such as 90s or 1h30m")
    parser.add_argument("--rate", type=float, metavar="N", help="open loop: N requests a second, without locust")
    arguments, rest = parser.parse_known_args()
    if "--worker" in rest:
        # The master has the target and the tokens. This process becomes locust, so that signals reach it.
        os.execv(LOCUST[0], [*LOCUST, *rest])  # noqa: S606 - no shell is needed
    if arguments.host and not arguments.tokens:
        parser.error("--host needs --tokens FILE: tokens of its users, one a line")
    soaks = arguments.shape == "soak"
    if soaks and arguments.host and not arguments.metrics:
        parser.error("a soak needs --metrics: the addresses of the workers' metrics, separated by spaces")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the context managers end what they started
    try:
        with ExitStack() as stack:
            if arguments.host:
                target = Target(arguments.host.rstrip("/"), arguments.tokens, arguments.metrics.split())
            else:
                target = stack.enter_context(own_service())
            process = stack.enter_context(generator(command(target, arguments, rest)))
            samples = watch(process, target, arguments.run_time or SOAK_SECONDS) if soaks else []
            failed = process.wait() != 0
    except PostgresError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if soaks and not failed:
        flat, text = verdict(samples)
        print(text)
        failed = not flat
    sys.exit(failed)


def command(target: Target, arguments: argparse.Namespace, rest: list[str]) -> list[str]:
    """The command of the generator: locust, or the open loop."""
    address = ["--host", target.host, "--tokens", target.tokens]
    if arguments.rate:
        run_time = arguments.run_time or (SOAK_SECONDS if arguments.shape == "soak" else 60)
        return [*OPEN_LOOP, *address, "--rate", str(arguments.rate), "--seconds", str(run_time), *rest]
    chosen = [*LOCUST, *address, "--loglevel", "WARNING", "--stop-timeout", "10"]
    if arguments.run_time:
        chosen += ["--run-time", str(arguments.run_time)]
    has_page = any(option.startswith(WEB) for option in rest)
    if not has_page:
        chosen += ["--headless"]
        chosen += [] if "--print-stats" in rest else ["--only-summary"]
    if arguments.shape or not has_page:
        chosen += ["--shape", arguments.shape or "average"]
    return chosen + rest


@contextmanager
def generator(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process that sends the load. In its own session, it gets no Ctrl-C from the terminal."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()  # it then deletes its tasks, and locust writes its report
        process.wait()


def watch(process: subprocess.Popen[bytes], target: Target, run_time: int) -> list[Sample]:
    """Samples the service while the process runs, and prints each sample."""
    samples = []
    started = time.monotonic()
    while True:
        try:
            process.wait(run_time / SAMPLES)
        except subprocess.TimeoutExpired:
            samples.append(sample(target.metrics, started))
            print(samples[-1], flush=True)
        else:
            return samples


def seconds(text: str) -> int:
    """Parses a time in the format of locust: 90, 90s, 20m, 1h30m."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not found or not any(found.groups()):
        raise argparse.ArgumentTypeError("such as 90s, 20m or 1h30m")
    hours, minutes, rest = (int(group or 0) for group in found.groups())
    return 3600 * hours + 60 * minutes + rest


if __name__ == "__main__":
    main()
