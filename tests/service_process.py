"""`python -m service serve` as a separate process."""

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

import psutil

from service.settings import ROOT


def start_service(environment: dict[str, str], *prefix: str, **options: Any) -> "subprocess.Popen[Any]":
    """Start the service with only PATH and `environment` as its environment variables.

    `prefix` is a command that executes the rest of its arguments; `options` are those of Popen.
    """
    command = [*prefix, sys.executable, "-m", "service", "serve"]
    return subprocess.Popen(command, cwd=ROOT, env={"PATH": os.environ["PATH"]} | environment, **options)


def workers_of(parent: int, zombies: bool = False) -> set[psutil.Process]:
    """The worker processes of the parent with this process id.

    With `zombies`, a worker that has ended counts until the parent has waited for it.
    """
    found = set()
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):  # a child may end meanwhile
            is_zombie = child.status() == psutil.STATUS_ZOMBIE  # which has no command line
            if (zombies and is_zombie) or "spawn_main" in " ".join(child.cmdline()):
                found.add(child)
    return found
