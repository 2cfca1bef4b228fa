"""The command line: `python -m service --help`. Each command imports only what it needs."""

import argparse
import os
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from ipaddress import ip_address
from uuid import UUID

from service.settings import SettingsError, read_settings, settings_table


def main() -> None:
    """Runs one command. A setting at fault ends it with status 1 and the setting's name."""
    parser = argparse.ArgumentParser(prog="python -m service", description="The task service.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("serve", help="serve, from the environment alone (production)")
    commands.add_parser("dev", help="serve on a PostgreSQL of its own, with a demo user and token").add_argument(
        "--reload", action="store_true", help="start anew when a file changes"
    )
    commands.add_parser("migrate", help="apply the migrations that are missing in DATABASE_URL")
    commands.add_parser("rollback", help="undo the last migration in DATABASE_URL")
    token = commands.add_parser("token", help="print a token for development (HS256 only)")
    token.add_argument("--user", type=UUID, metavar="UUID", help="whose (the demo user's)")
    token.add_argument("--hours", type=float, default=24, help="how long it is good for (24)")
    commands.add_parser("health", help="exit with 0 when the service on HOST and PORT is ready")
    commands.add_parser("settings", help="print the table of settings")
    commands.add_parser("openapi", help="print the OpenAPI document")
    try:
        run(parser.parse_args())
    except SettingsError as error:
        sys.exit(f"error: {error}")


def run(arguments: argparse.Namespace) -> None:
    """Runs the chosen command. Raises SettingsError."""
    match arguments.command:
        case "serve":
            from service.server import serve

            serve(read_settings(os.environ))
        case "dev":
            from service.dev.command import dev

            dev(os.environ, arguments.reload)
        case "token":
            from service.dev.command import DEMO_USER, token

            print(token(os.environ, arguments.user or DEMO_USER, int(arguments.hours * 3600)))
        case "settings":
            print(settings_table())
        case "openapi":
            from service.app import openapi

            print(openapi().body.decode())
        case "health":
            sys.exit(not is_ready(os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "4000"))
        case "migrate" | "rollback":
            change_schema(arguments.command, os.environ.get("DATABASE_URL", ""))


def change_schema(command: str, database_url: str) -> None:
    """Applies or undoes migrations, and prints which."""
    from service.db.migrations import MigrationError, migrate, rollback

    if not database_url:
        raise SettingsError("DATABASE_URL is missing")
    try:
        names = migrate(database_url) if command == "migrate" else rollback(database_url)
    except MigrationError as error:
        sys.exit(f"error: {error}")
    print("\n".join(f"{command}: {name}" for name in names) or f"{command}: nothing to do")


def is_ready(host: str, port: str) -> bool:
    """Whether /readyz answers 200 within two seconds."""
    with suppress(ValueError):  # a name
        if ip_address(host).is_unspecified:  # what it listens on, not where it is
            host = "127.0.0.1"
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
