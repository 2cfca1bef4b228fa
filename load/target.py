"""The target of the load: a new service on an empty PostgreSQL, or the service that --host names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from uuid import uuid4

import msgspec

from bench.subjects import migrate, running, service
from bench.traffic import SECRET
from service.auth.authenticator import issue_token
from service.dev.postgres import embedded_postgres
from service.settings import Settings
from tests.ports import free_port

TOKENS = 1000
"""The number of users of `own_service`: by default, the largest stage of the locustfile has as many."""

TOKEN_SECONDS = 86_400


class Target(msgspec.Struct, frozen=True):
    """A service. `tokens` is a file of tokens, one a line; `metrics` are the addresses of its workers' metrics."""

    host: str
    tokens: str
    metrics: list[str]


@contextmanager
def own_service() -> Iterator[Target]:
    """Starts the service with TOKENS users, and stops it at the end. Raises PostgresError, SystemExit."""
    port = free_port()
    subject = msgspec.structs.replace(service("load"), environment={"LOG_LEVEL": "warning", "METRICS_PORT": str(port)})
    with TemporaryDirectory(prefix="load-") as folder, embedded_postgres(Path(folder, "postgres")) as url_of:
        database_url = url_of(subject.database)
        migrate(subject, database_url)
        settings = Settings(database_url=database_url, jwt_secret=SECRET)
        tokens = Path(folder, "tokens")
        tokens.write_text("\n".join(issue_token(settings, uuid4(), TOKEN_SECONDS) for _ in range(TOKENS)))
        with running(subject, database_url, log=DEVNULL) as started:
            yield Target(f"http://127.0.0.1:{started.port}", str(tokens), [f"http://127.0.0.1:{port}/metrics"])
