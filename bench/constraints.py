"""Prints what the constraints of `tasks` add to an insert, as checks and as a domain: `python -m bench.constraints`.

A DO block inserts tasks in a loop in the server, so that neither the network nor a commit hides the difference. The
times are processor time of the session's process, so that other work on the machine adds little.
"""

from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from bench.database import Server, running_server
from service.db.migrations import migrate

ROUNDS = 7
TASKS = 20_000

INSERT = """
do $$
declare
    id uuid := (select id from users limit 1);
begin
    for n in 1..{} loop
        insert into tasks (user_id, title, description, completed) values (id, 'Buy milk', 'two litres', false);
    end loop;
end $$
"""

NO_TITLE_CHECKS = """
alter table tasks drop constraint task_title_length, drop constraint task_title_not_blank;
"""
NO_DOMAIN = """
alter table tasks alter column created_at type timestamptz, alter column updated_at type timestamptz;
"""
CHECKED_TIMES = """
alter table tasks add check (
    least(created_at, updated_at) >= '0001-01-01 00:00:00+00'
    and greatest(created_at, updated_at) < '10000-01-01 00:00:00+00'
);
"""

VARIANTS: dict[str, LiteralString] = {
    "without checks": NO_TITLE_CHECKS + NO_DOMAIN,
    "title: checks of the table": NO_DOMAIN,
    "times: a domain": NO_TITLE_CHECKS,
    "times: a check of the table": NO_TITLE_CHECKS + NO_DOMAIN + CHECKED_TIMES,
    "both, as in migrations/": "",
}
"""The changes after the migrations, by the name of the variant."""


def microseconds(server: Server, change: LiteralString) -> float:
    """The processor time of one insert."""
    server.create("constraints")
    migrate(server.url("constraints"))
    with psycopg.connect(server.url("constraints"), autocommit=True) as connection:
        connection.execute(change)
        connection.execute("insert into users values (gen_random_uuid())")
        times = Path(f"/proc/{connection.info.backend_pid}/schedstat")  # the first number: nanoseconds on a processor
        before = int(times.read_text().split()[0])
        connection.execute(sql.SQL(INSERT).format(TASKS))
        return (int(times.read_text().split()[0]) - before) / TASKS / 1000


def main() -> None:
    """Print the shortest time of several rounds. Each round has one run of each variant."""
    with running_server() as server:
        rounds = [{name: microseconds(server, change) for name, change in VARIANTS.items()} for _ in range(ROUNDS)]
    print(f"{'constraints':28} {'us an insert':>12}")
    for name in VARIANTS:
        print(f"{name:28} {min(times[name] for times in rounds):12.1f}")


if __name__ == "__main__":
    main()
