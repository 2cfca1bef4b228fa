"""The commands `dev` (the service on its own PostgreSQL server) and `token`."""

import os
import secrets
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from uuid import UUID, uuid5

from service.auth.authenticator import issue_token
from service.db.migrations import MigrationError, migrate, missing
from service.db.url import location
from service.dev.database import DATA, SEEDED, SERVER_SETTINGS, add_extension, with_dotenv
from service.dev.postgres import PostgresError, embedded_postgres
from service.server import bind, serve
from service.settings import ROOT, Settings, read_settings

LOOPBACK_ORIGINS = ",".join(
    f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1", "[::1]")
)
"""All ports, for development servers such as Vite (5173) and Next (3000), and for `make frontend` (8080)."""

DEMO_USER = SEEDED["the demo user"][0]

CALLS = """
To try the six calls, paste these lines. The token belongs to the demo user and expires in 24 hours.

  AUTH="Authorization: Bearer {token}"
  TASKS={base}/api/{user}/tasks

  curl -w '\\n' -H "$AUTH" $TASKS -d '{{"title": "Buy milk"}}'
  curl -w '\\n' -H "$AUTH" $TASKS
  TASK=$TASKS/$(curl -s -H "$AUTH" $TASKS | cut -d '"' -f 4)
  curl -w '\\n' -H "$AUTH" $TASK
  curl -w '\\n' -H "$AUTH" $TASK -X PUT -d '{{"title": "Buy oat milk", "description": "two cartons"}}'
  curl -w '\\n' -H "$AUTH" $TASK/complete -X PATCH
  curl -i -H "$AUTH" $TASK -X DELETE
"""


def dev(environment: Mapping[str, str], reload: bool = False, migrate_given: bool = False) -> None:
    """Serve until a signal, with a PostgreSQL server in .data, a demo user and a token.

    If DATABASE_URL is in `environment` or .env, that database is used, and migrated only with `migrate_given`. With
    `reload`, a change in service/ or sql/ restarts the service. Raises SettingsError.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # like Ctrl-C, these signals must also stop PostgreSQL
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as running:
            values = with_defaults(environment)
            if given := "DATABASE_URL" in values:
                print(f"Using the database of DATABASE_URL: {location(values['DATABASE_URL'])}", flush=True)
            else:
                print(f"Starting PostgreSQL on {DATA / 'postgres'}", flush=True)
                values["DATABASE_URL"] = running.enter_context(embedded_postgres(DATA / "postgres", SERVER_SETTINGS))(
                    "tasks"
                )
            settings = read_settings(values)
            for sock in bind(settings.host, settings.port):  # fails here if the port is in use
                sock.close()
            _migrate_or_refuse(settings.database_url, migrate_given or not given)
            if not given:
                add_extension(settings.database_url)
            print(_welcome(settings), flush=True)
            if reload:
                import watchfiles  # imported here because other commands do not need it

                watchfiles.run_process(ROOT / "service", ROOT / "sql", target=_serve_in_child, args=(settings,))
            else:
                serve(settings)
            print("Stopped.")
    except KeyboardInterrupt:
        print("Stopped.")
    except (PostgresError, MigrationError, OSError) as error:
        sys.exit(f"error: {error}")


def _migrate_or_refuse(database_url: str, may_migrate: bool) -> None:
    if may_migrate:
        migrate(database_url)
    elif names := missing(database_url):
        raise MigrationError(
            f"{location(database_url)} lacks the migrations {', '.join(names)}. "
            "`make migrate` or `make dev MIGRATE=1` applies them."
        )


def _serve_in_child(settings: Settings) -> None:
    os.setsid()  # watchfiles forwards Ctrl-C: a second SIGINT, from the terminal, would end the graceful stop
    serve(settings)


def tokens(environment: Mapping[str, str], users: Iterable[UUID], seconds: int) -> Iterator[str]:
    """Return tokens for `users` that the service of dev() accepts. Raises SettingsError without JWT_SECRET."""
    settings = read_settings({"DATABASE_URL": "postgresql:///"} | with_defaults(environment))
    return (issue_token(settings, user, seconds) for user in users)


def load_test_users(count: int) -> Iterator[UUID]:
    """Return the ids of `count` users: always the same ids, so that repeated load tests add no rows to `users`."""
    return (uuid5(DEMO_USER, str(number)) for number in range(count))


def with_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` and .env with defaults: loopback CORS_ORIGINS, and a JWT_SECRET that is stored in .data.

    With a key set, the stored secret is the CURSOR_SECRET.
    """
    values = with_dotenv(environment)
    values.setdefault("CORS_ORIGINS", LOOPBACK_ORIGINS)
    if "JWT_SECRET" not in values:
        keys = {"JWKS_URL", "JWKS_FILE", "JWT_DISCOVERY_URL", "JWT_ISSUERS"}
        values.setdefault("CURSOR_SECRET" if values.keys() & keys else "JWT_SECRET", _load_or_create_secret())
    return values


def _load_or_create_secret() -> str:
    DATA.mkdir(exist_ok=True)
    file = DATA / "jwt_secret"
    file.touch(mode=0o600)
    if not file.read_text():
        file.write_text(secrets.token_urlsafe(32))
    return file.read_text()


def _welcome(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"http://{host}:{settings.port}"
    welcome = f"\nThe service is at {base}, its API page at {base}/docs. Ctrl-C stops it; the tasks are kept.\n"
    welcome += "In another terminal: `make frontend` serves an example page, `make seed` adds example tasks.\n"
    if settings.jwt_secret:
        return welcome + CALLS.format(base=base, user=DEMO_USER, token=issue_token(settings, DEMO_USER, 24 * 3600))
    return f"{welcome}The issuer of the key set makes the tokens: there is none to print here.\n"
