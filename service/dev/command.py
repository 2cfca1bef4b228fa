"""The development commands: the service on a PostgreSQL of its own, and tokens to try it. Not for production."""

import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from uuid import UUID

import watchfiles
from dotenv import dotenv_values

from service.auth.authenticator import issue_token
from service.db.migrations import MigrationError, migrate
from service.dev.postgres import PostgresError, embedded_postgres
from service.server import serve
from service.settings import ROOT, Settings, read_settings

DATA = ROOT / ".data"
EXAMPLE = "http://127.0.0.1:8080, http://localhost:8080"
"""Where `make frontend` serves the page in examples/frontend."""
DEMO_USER = UUID("7a5c0000-0000-4000-8000-000000000001")

CALLS = """
To try the six calls, paste these lines. The token is the demo user's, good for 24 hours.

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


def dev(environment: Mapping[str, str], reload: bool = False) -> None:
    """Bring up what `environment` and .env do not name, migrate, say how to call the service, and serve until a signal.

    With `reload`, a change in service/ or sql/ starts the service anew. Raises SettingsError.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # as with Ctrl-C, or PostgreSQL would not be stopped
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as running:
            values = with_defaults(environment)
            if "DATABASE_URL" not in values:
                print(f"Starting PostgreSQL on {DATA / 'postgres'}", flush=True)
                values["DATABASE_URL"] = running.enter_context(embedded_postgres(DATA / "postgres"))("tasks")
            settings = read_settings(values)
            family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
            socket.create_server((settings.host, settings.port), family=family).close()  # taken? better said now
            migrate(settings.database_url)
            print(_welcome(settings), flush=True)
            if reload:
                watchfiles.run_process(ROOT / "service", ROOT / "sql", target=_serve_apart, args=(settings,))
            else:
                serve(settings)
    except KeyboardInterrupt:
        print("Stopped.")
    except (PostgresError, MigrationError, OSError) as error:
        sys.exit(f"error: {error}")


def _serve_apart(settings: Settings) -> None:
    os.setsid()  # Ctrl-C comes from watchfiles, once: a second one would cut the graceful stop short
    serve(settings)


def token(environment: Mapping[str, str], user_id: UUID, seconds: int) -> str:
    """A token for `user_id` that the service of dev() accepts. Raises SettingsError when only an issuer can make it."""
    return issue_token(read_settings({"DATABASE_URL": "postgresql:///"} | with_defaults(environment)), user_id, seconds)


def with_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` over .env; without a key, with a secret that is kept in .data. The example page may call."""
    values = {name: value for name, value in {**dotenv_values(ROOT / ".env"), **environment}.items() if value}
    values.setdefault("CORS_ORIGINS", EXAMPLE)
    if not values.keys() & {"JWT_SECRET", "JWKS_URL", "JWKS_FILE"}:
        DATA.mkdir(exist_ok=True)
        kept = DATA / "jwt_secret"
        kept.touch(mode=0o600)
        if not kept.read_text():
            kept.write_text(secrets.token_urlsafe(32))
        values["JWT_SECRET"] = kept.read_text()
    return values


def _welcome(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"http://{host}:{settings.port}"
    welcome = f"\nThe service is at {base}, its API to read and try at {base}/docs. Ctrl-C stops it; the tasks stay.\n"
    welcome += "For a page to see the tasks on: `make frontend`, in another terminal.\n"
    if settings.jwt_secret:
        return welcome + CALLS.format(base=base, user=DEMO_USER, token=issue_token(settings, DEMO_USER, 24 * 3600))
    return f"{welcome}Tokens come from the issuer of the key set: there is none to print here.\n"
