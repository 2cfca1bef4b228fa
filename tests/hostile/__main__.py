"""The command: sends every hostile input to a new service, and prints the expected and the actual status."""

import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from service.db.migrations import migrate
from service.dev.postgres import embedded_postgres
from tests.hostile.row import Row
from tests.hostile.table import ISSUER_ROWS, ROWS, issued, issuer, shared_secret
from tests.hostile.target import Target

COLUMNS = "{:>3}  {:<60} {:>8} {:>5}"


def main() -> None:
    """Print both tables. Exits with status 1 on an unexpected response or a side effect."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the context managers stop the processes
    with (
        TemporaryDirectory() as folder,
        embedded_postgres(Path(folder, "postgres"), {"fsync": "off"}) as url_of,
        issuer() as keys,
    ):
        migrate(url_of("secret"))
        migrate(url_of("issuer"))
        with shared_secret(url_of("secret")) as target:
            good = send("To a service that trusts a shared secret", ROWS, target)
        with issued(url_of("issuer"), keys.url) as target:
            good &= send("To a service that trusts an issuer's keys", ISSUER_ROWS, target)
    sys.exit(not good)


def send(heading: str, rows: list[Row], target: Target) -> bool:
    """Whether every response is the expected one, and the service is unchanged afterwards."""
    print(f"\n{heading}:\n\n{COLUMNS.format('', 'input', 'expected', 'got')}")
    wrong = 0
    for row in rows:
        got = target.ask(row.sent(target), row.method).status
        number, _, what = row.what.partition(" ")
        print(COLUMNS.format(number, what, row.status, got) + ("" if got == row.status else "  WRONG"))
        wrong += got != row.status
    memory = target.memory()
    for row in rows:
        target.ask(row.sent(target), row.method)
    grown = (target.memory() - memory) / 1e6
    state = target.state()
    print(f"\n{len(rows)} inputs, {wrong} unexpected responses. Memory growth when sent again: {grown:.0f} MB.")
    if state == target.state_at_start:
        print("Unchanged: no request is queued, the other user's tasks are the same, and no error was logged.")
    else:
        print(f"CHANGED: {state}")
    return not wrong and state == target.state_at_start and abs(grown) < 10


if __name__ == "__main__":
    main()
