"""The log lines at the start and stop of a process: its release, its database and the changed settings."""

import logging
import os
import platform
import time

from service.db.database import Database
from service.db.url import location
from service.settings import Settings
from service.version import VERSION, commit

logger = logging.getLogger("service")


def log_start(settings: Settings, database: Database) -> None:
    """Log the start. The line names the changed settings without their values, which may be secret."""
    members = {
        "version": VERSION,
        "commit": commit(),
        "python": platform.python_version(),
        "process": os.getpid(),
        "workers": settings.workers,
        "address": f"{settings.host}:{settings.port}",
        "database": location(settings.database_url),
        "postgresql": database.server_version,
        "pool": f"{settings.pool_min_size}-{settings.pool_max_size}",
        "changed_settings": settings.changed(),
    }
    logger.info("started", extra={"members": members})


def log_stop(started: float) -> None:
    """Log the stop. `started` is the time of the start by `time.monotonic()`."""
    members = {"process": os.getpid(), "uptime_seconds": round(time.monotonic() - started)}
    logger.info("stopped", extra={"members": members})
