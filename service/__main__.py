"""The command line: `python -m service --help`. Each command imports only what it needs."""

import argparse
import os
import sys
import urllib.error
import urllib.request
from typing import get_args
from uuid import UUID

import msgspec

from service.settings import Settings, SettingsError, read_settings


def main() -> None:
    """Parse the command line and run the command. Exit with status 1 and one line if a setting is not valid."""
    parser = argparse.ArgumentParser(prog="python -m service", description="The task service.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("serve", help="serve with the settings of the environment (production)")
    dev = commands.add_parser("dev", help="serve on a PostgreSQL server of its own, with a demo user and a token")
    dev.add_argument("--reload", action="store_true", help="restart when a file changes")
    dev.add_argument("--migrate", action="store_true", help="migrate the database of DATABASE_URL if one is given")
    seed = commands.add_parser("seed", help="add example tasks to the development database")
    seed.add_argument("--yes", action="store_true", help="confirm, if DATABASE_URL names the database")
    psql = commands.add_parser("psql", help="open psql on the development database")
    psql.add_argument("-c", dest="statement", metavar="SQL", help="run one statement and exit")
    commands.add_parser("migrate", help="apply the missing migrations to DATABASE_URL")
    commands.add_parser("rollback", help="undo the last migration in DATABASE_URL")
    token = commands.add_parser("token", help="print tokens for development and load tests (HS256 only)")
    users = token.add_mutually_exclusive_group()
    users.add_argument("--user", type=UUID, metavar="UUID", help="the user (default: the demo user)")
    users.add_argument("--count", type=int, metavar="N", help="for N users, one token a line; always the same users")
    token.add_argument("--hours", type=float, default=24, help="hours until the token expires (default: 24)")
    commands.add_parser("health", help="exit with 0 when the service on HOST and PORT is ready")
    report = commands.add_parser(
        "report", help="print the costs of the statements and tables in DATABASE_URL, for a DBA"
    )
    form = report.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="as an HTML page")
    form.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser("settings", help="print the table of settings")
    commands.add_parser("openapi", help="print the OpenAPI document")
    try:
        run(parser.parse_args())
    except SettingsError as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("service"):
            raise
        sys.exit(f"error: this command needs the package {error.name}: run `make install`")


def run(arguments: argparse.Namespace) -> None:
    """Run the chosen command. Raises SettingsError."""
    match arguments.command:
        case "serve":
            from service.server import serve

            serve(read_settings(os.environ))
        case "dev":
            from service.dev.command import dev

            dev(os.environ, arguments.reload, arguments.migrate)
        case "seed":
            from service.dev.database import seed

            seed(os.environ, arguments.yes)
        case "psql":
            from service.dev.database import psql

            sys.exit(psql(os.environ, arguments.statement))
        case "token":
            from service.dev.command import DEMO_USER, load_test_users, tokens

            users = load_test_users(arguments.count) if arguments.count else [arguments.user or DEMO_USER]
            print("\n".join(tokens(os.environ, users, int(arguments.hours * 3600))))
        case "report":
            print_report("html" if arguments.html else "json" if arguments.json else "text")
        case "settings":
            print(settings_table())
        case "openapi":
            from service.app import openapi

            print(openapi().body.decode())
        case "health":
            sys.exit(not is_ready(os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "4000"))
        case "migrate" | "rollback":
            change_schema(arguments.command, os.environ.get("DATABASE_URL", ""))


def settings_table() -> str:
    """Return the settings as a Markdown table."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for field in msgspec.structs.fields(Settings):
        meta = [m for m in get_args(field.type)[1:] if isinstance(m, msgspec.Meta) and m.description][-1]
        default = "required" if field.required else f"`{field.default}`".lower() if field.default != "" else "-"
        rows.append(f"| `{field.name.upper()}` | {default} | {meta.description} |")
    return "\n".join(rows)


def change_schema(command: str, database_url: str) -> None:
    """Apply or undo migrations, and print their names."""
    from service.db.migrations import MigrationError, migrate, rollback

    if not database_url:
        raise SettingsError("DATABASE_URL is missing")
    try:
        names = migrate(database_url) if command == "migrate" else rollback(database_url)
    except MigrationError as error:
        sys.exit(f"error: {error}")
    print("\n".join(f"{command}: {name}" for name in names) or f"{command}: nothing to do")


def print_report(form: str) -> None:
    """Print the report of DATABASE_URL or, if that is not set, of the development database."""
    import psycopg

    from service.report.collect import collect
    from service.report.render import as_html, as_text

    try:
        if url := os.environ.get("DATABASE_URL"):
            report = collect(url)
        else:
            from service.dev.database import development_database

            with development_database(os.environ) as url:
                report = collect(url)
    except psycopg.Error as error:
        sys.exit(f"error: {error}")
    print({"html": as_html, "text": as_text}[form](report) if form != "json" else msgspec.json.encode(report).decode())


def is_ready(host: str, port: str) -> bool:
    """Whether /readyz returns 200 within two seconds. `host` is the value of HOST."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host else host
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
