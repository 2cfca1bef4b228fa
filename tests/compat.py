"""`make compat`: the tests with the oldest and newest releases that pyproject.toml allows, and on each Python.

Each row has a virtual environment of its own in .compat/, made by uv from requirements/test.txt; then the release in
question is installed. A row's output is in .compat/NAME.log.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import msgspec

from service.settings import ROOT

FOLDER = ROOT / ".compat"
REQUIREMENTS = ROOT / "requirements" / "test.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

TESTS = {
    "uvicorn": ["tests/edge", "tests/test_server.py"],
    "asyncpg": ["tests/db", "tests/tasks"],
}
"""The packages of which the service uses more than their documented interface, and the tests that use it."""

COLUMNS = "{:<16} {:>8} {:>8} {:>8} {:>7}  {}"


class Row(msgspec.Struct, frozen=True):
    """One environment. `release` is what is installed in place of the locked release."""

    name: str
    python: str
    tests: list[str]
    release: str = ""


def main() -> None:
    """Run the rows that are named, or all. Exit with status 1 when tests failed."""
    rows = list(all_rows())
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description="Test other releases and Pythons.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(row.name for row in rows))
    chosen = parser.parse_args().names
    if unknown := set(chosen) - {row.name for row in rows}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    FOLDER.mkdir(exist_ok=True)
    print(COLUMNS.format("row", "Python", "uvicorn", "asyncpg", "seconds", "result"))
    results = [run(row) for row in rows if not chosen or row.name in chosen]
    sys.exit(not all(results))


def all_rows() -> Iterator[Row]:
    """Two rows for each package in TESTS, and one for each Python on this machine."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for package, tests in TESTS.items():
        (allowed,) = (text for text in dependencies if re.match(rf"{package}\W", text))
        oldest = re.search(r">=([\d.]+)", allowed)
        assert oldest, f"{allowed} has no lower bound"
        yield Row(f"{package}-oldest", sys.executable, tests, f"{package}=={oldest[1]}")
        yield Row(f"{package}-newest", sys.executable, tests, allowed)
    for version in PYTHONS:
        if python := find_python(version):
            yield Row(f"python-{version}", python, [])


def find_python(version: str) -> str | None:
    """The path of a Python that runs: the one on PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    for path in filter(None, found):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:  # a shim of pyenv may not run
            return path
    return None


def run(row: Row) -> bool:
    """Run a row's tests and print its line. Return whether they passed."""
    began = monotonic()
    python = FOLDER / row.name / "bin" / "python"
    steps = [
        ("venv", "--clear", "--python", row.python, str(FOLDER / row.name)),
        ("pip", "install", "--python", str(python), "--require-hashes", "--requirement", str(REQUIREMENTS)),
    ]
    if row.release:
        steps.append(("pip", "install", "--python", str(python), "--upgrade", row.release))
    for step in steps:
        done = uv(*step)
        if done.returncode:
            print(COLUMNS.format(row.name, "", "", "", "", f"cannot be installed: {done.stderr.strip()}"))
            return False
    with (FOLDER / f"{row.name}.log").open("w") as log:
        command = [str(python), "-m", "pytest", "--quiet", "--numprocesses=2", "--dist=loadfile", *row.tests]
        status = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT).returncode
    last_line = Path(log.name).read_text().rstrip().rpartition("\n")[2]
    print(COLUMNS.format(row.name, *versions(python), round(monotonic() - began), last_line), flush=True)
    return status == 0


def versions(python: Path) -> list[str]:
    """The versions of Python and of the packages in TESTS."""
    code = (
        "import platform, sys, importlib.metadata as m; print(platform.python_version(), *map(m.version, sys.argv[1:]))"
    )
    return subprocess.run([python, "-c", code, *TESTS], capture_output=True, text=True, check=True).stdout.split()


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv of this environment."""
    return subprocess.run([sys.executable, "-m", "uv", *arguments], cwd=ROOT, capture_output=True, text=True)


if __name__ == "__main__":
    main()
