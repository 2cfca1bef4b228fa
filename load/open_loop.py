"""An open-loop generator: requests start on a schedule, whether or not the service has answered earlier ones.

A user of locust sends nothing while it waits for an answer, so a stall of one second delays one request of each user.
Here the requests that are due in that second are sent late, and their latency counts from when they were due.
"""

import argparse
import asyncio
import gc
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from load.generator import Generator
from load.latency import DIFFERENCE, Results, cuts
from load.traffic import Traffic, read_users

LATE = 25
"""Milliseconds by which the generator may be late at p99. Above this, the figures include its own delays."""

BUSY = 0.9
"""The share of a core that the generator may use."""


async def run(arguments: argparse.Namespace) -> bool:
    """Runs the load and prints its figures. Returns whether it passed."""
    users = read_users(arguments.tokens)
    traffic = Traffic(urlsplit(arguments.host).netloc, users)
    generator = Generator(arguments.host, arguments.connections, traffic)
    results = Results(arguments.tolerance)
    rate, seconds, warm_up = arguments.rate, arguments.seconds, arguments.warm_up
    print(f"{rate:,g} requests a second for {seconds:g} s on {arguments.host}, {len(users)} users", flush=True)
    async with generator:
        try:
            await generator.send_all(traffic.set_up())
            if generator.errors:
                print(f"FAILED: the users cannot create their tasks: {generator.errors}")
                return False
            gc.freeze()
            generator.results, generator.measured_from = results, time.perf_counter() + warm_up
            cpu, clock = time.process_time(), time.perf_counter()
            await generator.run_schedule(traffic.requests(), rate, warm_up + seconds)
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            for kind, count in sorted(generator.errors.items()):
                print(f"{kind}: {count:,}")
        finally:  # after a signal too
            generator.results = None
            await generator.drain()  # a request in flight may still create a task
            await generator.send_all(traffic.clean_up())
    answered = sum(len(latencies.sent) - latencies.failures for latencies in results.values()) / (clock - warm_up)
    p50, _, p99, _ = cuts(generator.late)
    print(results)
    print(f"Answered: {answered:,.0f} a second. The generator used {100 * cpu / clock:.0f} % of a core.")
    print(f"With a connection idle, it sent {p50:.1f} ms (p50) and {p99:.1f} ms (p99) after the scheduled start.")
    print(DIFFERENCE)
    reasons = results.reasons_to_fail()
    if p99 > LATE * arguments.tolerance or cpu > BUSY * clock:
        reasons.append("the generator was late or busy: these figures are partly its own")
    print(f"FAILED: {'; '.join(reasons)}" if reasons else "passed", flush=True)
    return not reasons


async def run_until_signal(arguments: argparse.Namespace) -> bool:
    """Calls `run`. SIGTERM ends it like Ctrl-C."""
    running = asyncio.ensure_future(run(arguments))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def main() -> None:
    """Exits with status 1 when the run fails."""
    parser = argparse.ArgumentParser(prog="python -m load.open_loop")
    parser.add_argument("--host", required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--warm-up", type=float, default=5)
    parser.add_argument("--tolerance", type=float, default=1)
    try:
        sys.exit(not uvloop.run(run_until_signal(parser.parse_args())))
    except OSError as error:
        sys.exit(f"error: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


if __name__ == "__main__":
    main()
