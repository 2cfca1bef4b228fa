"""PostgreSQL servers on 127.0.0.1 that can be killed, frozen, copied and promoted."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg
from psycopg import sql

from service.db.migrations import migrate
from service.dev.postgres import ENVIRONMENT, PROGRAMS, embedded_postgres
from tests.ports import free_port

ACCEPT_SECONDS = 20
"""Longest wait for a server to start or stop."""

BACKENDS: LiteralString = "select pid from pg_stat_activity where application_name = 'task-service'"


def prepare(folder: Path) -> None:
    """Create the data that every server starts from: roles and empty tables."""
    with embedded_postgres(folder) as url_of:
        tasks = url_of("tasks")
        with psycopg.connect(tasks, autocommit=True) as admin:
            admin.execute("create role task_app login")  # not a superuser, for whom connection limits do not apply
            admin.execute("alter database tasks owner to task_app")
        migrate(tasks.replace("postgres@", "task_app@", 1))
        with psycopg.connect(tasks, autocommit=True) as admin:
            admin.execute("create role guarded login in role task_app password 'the right one'")
    access = folder / "pg_hba.conf"
    access.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + access.read_text())


class Server:
    """A server on the data in `folder`; `settings` are settings of PostgreSQL."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # in its folder: in /dev/shm it would remain after a kill
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def copy(cls, prepared: Path, folder: Path) -> "Server":
        """A server on a copy of a stopped server's data. It is not started yet."""
        subprocess.run(["/bin/cp", "-a", prepared, folder], check=True)
        return cls(folder)

    async def standby(self, folder: Path, port: int = 0) -> "Server":
        """A standby of this server, through the proxy on `port` if one is given. It is not started yet."""
        folder.mkdir(mode=0o700)
        os.chown(folder, self.folder.stat().st_uid, self.folder.stat().st_gid)
        source = f"postgresql://postgres@127.0.0.1:{port or self.port}/?application_name=standby"
        options = [
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            f"--pgdata={folder}",
            f"--dbname={source}",
        ]
        command = [str(PROGRAMS / "pg_basebackup"), *options]
        await asyncio.to_thread(lambda: subprocess.run(command, check=True, **self._surroundings()))
        return Server(folder)

    def url(self, user: str = "task_app", database: str = "tasks", port: int = 0) -> str:
        """The URL of `database` for `user`, through the proxy on `port` if one is given."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    async def start(self) -> None:
        """Start, and return when connections are accepted. Raises TimeoutError."""
        command = [str(PROGRAMS / "postgres"), "-D", str(self.folder)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self.folder.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, **self._surroundings()
            )
        await self.accepting()

    def _surroundings(self) -> dict[str, Any]:
        """Arguments for subprocess. PostgreSQL refuses root, so root runs it as the owner of the data."""
        owner = self.folder.stat()
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        return {"cwd": self.folder, "env": ENVIRONMENT, **account}

    async def accepting(self) -> None:
        """Return when connections are accepted. Raises TimeoutError."""
        async with asyncio.timeout(ACCEPT_SECONDS):
            while True:
                try:
                    await self.execute("select 1")
                    return
                except psycopg.OperationalError:
                    await asyncio.sleep(0.02)

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT is a fast shutdown, SIGQUIT an immediate shutdown (PostgreSQL manual, 18.5)."""
        if self._process:
            self._process.send_signal(how)
            await asyncio.to_thread(self._process.wait, ACCEPT_SECONDS)
            self._process = None

    def kill(self) -> None:
        """Kill every process, as a power failure would."""
        if self._process:
            self._each(psutil.Process.kill)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Suspend every process."""
        self._each(psutil.Process.suspend)

    def thaw(self) -> None:
        """Resume a frozen server."""
        self._each(psutil.Process.resume)

    def _each(self, act: Callable[[psutil.Process], None]) -> None:
        """Call `act` for every process, the postmaster first, since it starts the others."""
        for first in [psutil.Process(self._process.pid)] if self._process else []:
            for process in (first, *first.children()):
                with suppress(psutil.NoSuchProcess):  # backends end at any time
                    act(process)

    async def close(self) -> None:
        """Stop the server, frozen or not. A killed server is started again first, to release its shared memory."""
        if not self._process:
            await self.start()
        self.thaw()
        await self.stop(signal.SIGQUIT)

    async def session(self, database: str = "tasks") -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """A connection of the superuser; each statement commits by itself."""
        return await psycopg.AsyncConnection.connect(self.url("postgres", database), autocommit=True, connect_timeout=5)

    @asynccontextmanager
    async def locked(self, mode: LiteralString) -> AsyncIterator[None]:
        """Hold a lock on the table of tasks, as `tests.database.locked` does, without blocking the event loop.

        The event loop runs the load and the proxies, on which the end of the service's transactions may depend.
        """
        async with await self.session() as session, session.transaction():
            await session.execute(sql.SQL("lock table tasks in {} mode").format(sql.SQL(mode)))
            yield

    async def execute(self, statement: LiteralString, *arguments: Any) -> list[tuple[Any, ...]]:
        """Execute one statement in a new session with the database of tasks. Returns its rows."""
        async with await self.session() as session:
            cursor = await session.execute(statement, arguments)
            return await cursor.fetchall() if cursor.description else []

    async def backends(self) -> list[int]:
        """The process ids of the backends of the service, the most recently used at the end."""
        return [pid for (pid,) in await self.execute(BACKENDS + " order by state_change")]
