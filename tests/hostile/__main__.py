"""The command: sends every hostile input to a service of its own, and prints what was expected and what came."""

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
    """Prints both tables. Exits with status 1 when an answer was not the expected one, or something is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is running is ended in any case
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
    """Whether every answer is the expected one, and the service is afterwards as it was."""
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
    print(f"\n{len(rows)} inputs, {wrong} wrong answers. Sent once more, they made the memory grow by {grown:.0f} MB.")
    if state == target.state_at_start:
        print("No connection is out of the pool, another user's tasks are as before, and no error was logged.")
    else:
        print(f"CHANGED: {state}")
    return not wrong and state == target.state_at_start and abs(grown) < 10


if __name__ == "__main__":
    main()
