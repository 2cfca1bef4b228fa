"""What is put under load: a service of our own, or the one that LOAD_HOST names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from tempfile import TemporaryDirectory
from uuid import uuid4

import msgspec

from bench.subjects import migrate, running, service
from bench.traffic import SECRET
from service.auth.authenticator import issue_token
from service.dev.postgres import embedded_postgres
from service.settings import Settings

TOKEN_SECONDS = 86_400


class Target(msgspec.Struct, frozen=True):
    """A service. `tokens` is a file of tokens, one a line; `metrics` are the addresses of its workers' metrics."""

    host: str
    tokens: Path
    metrics: list[str]


def named(environment: Mapping[str, str]) -> Target | None:
    """The deployment in LOAD_HOST, LOAD_TOKENS and LOAD_METRICS, if there is one. Raises SystemExit."""
    host, tokens = environment.get("LOAD_HOST", ""), environment.get("LOAD_TOKENS", "")
    if not host:
        return None
    if not tokens:
        raise SystemExit("error: LOAD_HOST needs LOAD_TOKENS, a file with tokens of users there, one a line")
    return Target(host.rstrip("/"), Path(tokens).absolute(), environment.get("LOAD_METRICS", "").split())


@contextmanager
def own(users: int) -> Iterator[Target]:
    """The service as it stands here, on an empty PostgreSQL, both gone at the end. Raises PostgresError, SystemExit."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    subject = msgspec.structs.replace(service("load"), environment={"LOG_LEVEL": "warning", "METRICS_PORT": str(port)})
    with TemporaryDirectory(prefix="load-") as folder, embedded_postgres(Path(folder, "postgres")) as url_of:
        database_url = url_of(subject.database)
        migrate(subject, database_url)
        settings = Settings(database_url=database_url, jwt_secret=SECRET)
        tokens = Path(folder, "tokens")
        tokens.write_text("\n".join(issue_token(settings, uuid4(), TOKEN_SECONDS) for _ in range(users)))
        with running(subject, database_url) as started:
            yield Target(f"http://127.0.0.1:{started.port}", tokens, [f"http://127.0.0.1:{port}/metrics"])
