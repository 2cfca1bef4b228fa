"""The version of the release, and the commit that it was built from."""

import subprocess
from functools import cache

from service.settings import ROOT

VERSION = "0.1.0"
"""The same as in pyproject.toml, which the image does not contain. A test compares them."""


@cache
def commit() -> str:
    """The commit's hash: from the file COMMIT, which the image's build writes, or from git; else `unknown`."""
    file = ROOT / "COMMIT"
    if file.exists():
        return file.read_text().strip()
    if not (ROOT / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=2, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
