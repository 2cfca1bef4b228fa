"""The command: runs the generators and linters that clients use on /openapi.json, and prints a row for each."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from service.db.migrations import migrate
from service.dev.postgres import embedded_postgres
from service.settings import ROOT
from tests.serving import Api, serving

HERE = Path(__file__).parent
EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".venv-client" / "bin"
COLUMNS = "{:<24} {:<9} {:<62} {:>6} {:>8}"
OFFLINE = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


class CheckFailed(Exception):
    """A program of a check failed; the text is its output."""


def run(
    *command: str | Path, folder: Path = ROOT, any_status: bool = False, environment: Mapping[str, str] = OFFLINE
) -> str:
    """Standard output of a program. Raises CheckFailed."""
    environ = {**os.environ, "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}", **environment}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    if done.returncode and not any_status:
        raise CheckFailed(done.stdout + done.stderr)
    return done.stdout


class Checks:
    """The checks. Each returns its numbers of errors and warnings. The document is in `folder`."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._folder = folder
        self._document = folder / "openapi.json"
        self._document.write_bytes(api.anonymous.get("/openapi.json").content)
        caller = api.caller()
        self._account = (str(api.anonymous.base_url), caller.id, caller.token)
        self._tasks = {"TASKS": f"{api.anonymous.base_url}{caller.tasks}", "TOKEN": caller.token}

    def types(self) -> tuple[int, int]:
        options = ("--default-non-nullable=false", "--output", "client/schema.d.ts", "--check")
        run("npx", "openapi-typescript", self._document, *options, folder=EXAMPLES)
        run("npx", "tsc", "--noEmit", folder=EXAMPLES)
        return 0, 0

    def fetch_client(self) -> tuple[int, int]:
        run("node", "--test", HERE / "client.test.mjs", environment=self._tasks)
        return 0, 0

    def python_client(self) -> tuple[int, int]:
        out = self._folder / "client"
        printed = run("openapi-python-client", "generate", "--path", self._document, "--output-path", out)
        run(PYTHON / "python", HERE / "generated_client.py", *self._account, environment={"PYTHONPATH": str(out)})
        return 0, printed.count("WARNING")

    def python_models(self) -> tuple[int, int]:
        options = (
            "--input-file-type",
            "openapi",
            "--output-model-type",
            "pydantic_v2.BaseModel",
            "--formatters",
            "builtin",
        )
        run("datamodel-codegen", "--input", self._document, "--output", self._folder / "models.py", *options)
        run(
            PYTHON / "python",
            HERE / "generated_models.py",
            *self._account,
            environment={"PYTHONPATH": str(self._folder)},
        )
        return 0, 0

    def redocly(self) -> tuple[int, int]:
        command = ("npx", "redocly", "lint", "--config", "redocly.yaml", "--format", "json", self._document)
        report = json.loads(run(*command, folder=HERE, any_status=True))
        for problem in report["problems"]:
            print(f"redocly: {problem['ruleId']}: {problem['message']} {problem['location'][0].get('pointer')}")
        return report["totals"]["errors"], report["totals"]["warnings"]

    def spectral(self) -> tuple[int, int]:
        command = (
            "npx",
            "spectral",
            "lint",
            "--ruleset",
            "spectral.yaml",
            "--format",
            "json",
            "--quiet",
            self._document,
        )
        problems = json.loads(run(*command, folder=HERE, any_status=True))
        for problem in problems:
            print(f"spectral: {problem['code']}: {problem['message']} {'/'.join(map(str, problem['path']))}")
        errors = sum(problem["severity"] == 0 for problem in problems)
        return errors, len(problems) - errors


Check = Callable[[Checks], tuple[int, int]]
ROWS: list[tuple[str, Path, str, Check]] = [
    ("openapi-typescript", EXAMPLES, "examples/client/schema.d.ts is current, and tsc accepts it", Checks.types),
    ("client.ts", EXAMPLES, "calls, pages, retries, 412 and problems, on a running service", Checks.fetch_client),
    ("openapi-python-client", PYTHON, "the generated client makes the six calls", Checks.python_client),
    ("datamodel-code-generator", PYTHON, "the generated models read real answers", Checks.python_models),
    ("@redocly/cli", HERE, "lints the document by its recommended rules", Checks.redocly),
    ("@stoplight/spectral-cli", HERE, "lints the document by its rules for OpenAPI", Checks.spectral),
]


def version(package: str, place: Path) -> str:
    """The version that the lock files pin."""
    if place == PYTHON:
        pinned = re.search(rf"^{package}==([\w.]+)", (ROOT / "requirements" / "client.txt").read_text(), re.MULTILINE)
        return pinned[1] if pinned else "-"
    locked = json.loads((place / "package-lock.json").read_text())["packages"].get(f"node_modules/{package}", {})
    return str(locked.get("version", "-"))


def main() -> None:
    """Print the table. Exits with status 1 when a check fails or a linter reports something."""
    good = True
    print(COLUMNS.format("tool", "version", "what it does", "errors", "warnings"))
    with TemporaryDirectory() as folder, embedded_postgres(Path(folder, "postgres"), {"fsync": "off"}) as url_of:
        migrate(url_of("clients"))
        with serving(database_url=url_of("clients")) as api:
            checks = Checks(api, Path(folder))
            for tool, place, what, check in ROWS:
                try:
                    errors, warnings = check(checks)
                except CheckFailed as error:
                    print(error)
                    errors, warnings = 1, 0
                print(COLUMNS.format(tool, version(tool, place), what, errors, warnings), flush=True)
                good &= not errors and not warnings
    sys.exit(not good)


if __name__ == "__main__":
    main()
