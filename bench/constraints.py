"""Prints what the constraints of `tasks` add to an insert, as checks and as a domain: `python -m bench.constraints`.

A DO block inserts tasks in a loop in the server, so that neither the network nor a commit hides the difference.
"""

import time

import psycopg

from bench.database import Server, running_server
from service.db.migrations import migrate

ROUNDS = 7
TASKS = 20_000
"""In INSERT too."""

INSERT = b"""
do $$
declare
    id uuid := (select id from users limit 1);
begin
    for n in 1..20000 loop
        insert into tasks (user_id, title, description, completed) values (id, 'Buy milk', 'two litres', false);
    end loop;
end $$
"""

NO_TITLE_CHECKS = b"""
alter table tasks drop constraint task_title_length, drop constraint task_title_not_blank;
"""
NO_DOMAIN = b"""
alter table tasks alter column created_at type timestamptz, alter column updated_at type timestamptz;
"""
CHECKED_TIMES = b"""
alter table tasks add check (
    least(created_at, updated_at) >= '0001-01-01 00:00:00+00'
    and greatest(created_at, updated_at) < '10000-01-01 00:00:00+00'
);
"""

VARIANTS = {
    "without checks": NO_TITLE_CHECKS + NO_DOMAIN,
    "title: checks of the table": NO_DOMAIN,
    "times: a domain": NO_TITLE_CHECKS,
    "times: a check of the table": NO_TITLE_CHECKS + NO_DOMAIN + CHECKED_TIMES,
    "both, as in migrations/": b"",
}
"""What is changed after the migrations."""


def seconds(server: Server, change: bytes) -> float:
    """The time of one insert."""
    server.create("constraints")
    migrate(server.url("constraints"))
    with psycopg.connect(server.url("constraints"), autocommit=True) as connection:
        connection.execute(change)
        connection.execute("insert into users values (gen_random_uuid())")
        started = time.perf_counter()
        connection.execute(INSERT)
        return (time.perf_counter() - started) / TASKS


def main() -> None:
    """Prints the least time of several rounds, which take turns."""
    with running_server() as server:
        rounds = [{name: seconds(server, change) for name, change in VARIANTS.items()} for _ in range(ROUNDS)]
    print(f"{'constraints':28} {'us an insert':>12}")
    for name in VARIANTS:
        print(f"{name:28} {min(times[name] for times in rounds) * 1e6:12.1f}")


if __name__ == "__main__":
    main()
