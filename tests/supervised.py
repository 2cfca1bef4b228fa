"""A supervisor with two workers for tests/test_supervisor.py: `python -m tests.supervised FOLDER`.

Each worker creates a file FOLDER/PID.worker. While the file FOLDER/broken exists, workers cannot start.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.supervisor import STARTUP_FAILURE, Supervisor


def work(folder: Path, sockets: list[Any], is_full_stop: Callable[[], bool], on_started: Callable[[], None]) -> None:
    if Path(folder, "broken").exists():
        sys.exit(STARTUP_FAILURE)
    Path(folder, f"{os.getpid()}.worker").touch()
    on_started()
    signal.pause()


if __name__ == "__main__":
    sys.exit(Supervisor(2, work, Path(sys.argv[1]), []).run())
