"""PostgreSQL without the service: pgbench runs its statements. On Debian, pgbench is in the package postgresql-NN."""

import math
import re
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.database import Server
from bench.load import summary
from bench.processes import read
from bench.run import WARM_UP_SECONDS, Run, evaluated
from bench.traffic import OPERATIONS, USERS
from service.settings import ROOT

PROGRAM = shutil.which("pgbench")

CLIENTS = 20
"""The maximum number of clients: the service's POOL_MAX_SIZE."""

STATEMENTS = {
    "get": "get_task",
    "list20": "list_tasks",
    "create": "create_task",
    "update": "update_task",
    "toggle": "complete_task",
}
"""The statements that can be repeated, by operation."""

PARAMETERS = {
    "user_id": "('00000000-0000-4000-8000-' || lpad(:user::text, 12, '0'))::uuid",
    "id": "('00000000-0000-4001-8000-' || lpad(:task::text, 6, '0') || lpad(:user::text, 6, '0'))::uuid",
    "size": "500",
    "title": "'Buy oat milk and a lamp'",
    "set_description": "true",
    "description": "'Two cartons.'",
    "completed": "true",
}
"""The SQL expression of each parameter. Ids are computed, since the variables of pgbench are numbers."""


def run(server: Server, database: str, operation: str, connections: int, seconds: float, rate: float) -> Run:
    """The operation's statement alone, by as many clients as there are connections, up to CLIENTS.

    `rate` statements begin each second, as with the service: at a higher rate the server spends less on each, above all
    on commits, which then share a write to the disk.
    """
    server.seed(database, OPERATIONS[operation].tasks_each)
    with TemporaryDirectory() as folder:
        script = Path(folder, "script.sql")
        script.write_text(_script(STATEMENTS[operation]))
        clients, length = min(connections, CLIENTS), math.ceil(WARM_UP_SECONDS + seconds + 1)
        options = [
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={clients}",
            f"--time={length}",
            f"--rate={rate:.0f}",
        ]
        files = [f"--file={script}", "--log", f"--log-prefix={folder}/log"]
        command = [PROGRAM or "pgbench", *options, *files, server.url(database)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(WARM_UP_SECONDS)
        start, before = time.time(), read(process.pid, server.pid)
        time.sleep(seconds)
        end, after = time.time(), read(process.pid, server.pid)
        if process.wait():
            raise SystemExit(f"error: pgbench fails at {operation}")
        lines = (line.split() for log in Path(folder).glob("log.*") for line in log.read_text().splitlines())
        latencies = [int(line[2]) / 1e6 for line in lines if start <= int(line[4]) + int(line[5]) / 1e6 < end]
    return evaluated("pgbench", operation, connections, summary(latencies, 0, end - start, 0), before, after)


def _script(name: str) -> str:
    """The script of pgbench: the statement, with PARAMETERS in place of $1, $2 ... as its header names them."""
    text = (ROOT / "sql" / f"{name}.sql").read_text()
    names = dict(re.findall(r"^--   \$(\d+) +(\w+)", text, re.MULTILINE))
    bound = re.sub(r"\$(\d+)", lambda match: PARAMETERS[names[match[1]]], text)
    return f"\\set user random(1, {USERS})\n\\set task random(1, 20)\n{bound};\n"
