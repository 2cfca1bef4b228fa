"""Checks each file of deploy/ with the tool that reads it, and prints a table: `make deploy-check`.

The commands are those of Debian; missing commands are installed where systemd does not run. Python packages are in
.venv-deploy.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.deploy.configs import DEPLOY, ROOT, certificate, haproxy, nginx

PACKAGES = {
    "docker-compose": "docker-compose",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "openssl": "openssl",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
}
"""The Debian package of each command."""

KUBERNETES = ("1.28", "1.37")
"""The oldest release that has every field used here, and the newest release for which the validator has schemas."""

MOST_EXPOSED = 1.5
"""The highest accepted exposure level of `systemd-analyze security`, from 0 to 10."""

Row = tuple[str, str, bool, str]


def main() -> None:
    """Print the table. Exits with 1 when a file fails, and with 2 when a tool is missing."""
    os.environ["PATH"] += ":/usr/sbin"  # the folder of nginx and HAProxy on Debian, which is only in root's PATH
    install()
    failed = False
    print(f"{'file of deploy/':<42}{'tool':<27}result")
    for check in (compose, systemd, kubernetes, proxies, prometheus, grafana):
        with TemporaryDirectory() as folder:
            for file, tool, passed, result in check(Path(folder)):
                failed |= not passed
                print(f"{file:<42}{tool:<27}{result if passed else 'FAILED'}", flush=True)
                if not passed:
                    print(result)
    sys.exit(failed)


def install() -> None:
    """Install the missing commands, or print how to install them. Raises SystemExit."""
    missing = sorted({package for command, package in PACKAGES.items() if not shutil.which(command)})
    if not missing:
        return
    # where systemd runs, Debian would start the services of these packages, on ports 80 and 9090
    if os.geteuid() != 0 or not shutil.which("apt-get") or Path("/run/systemd/system").exists():
        print(f"Missing: {', '.join(missing)}. Run: sudo apt-get install {' '.join(missing)}", file=sys.stderr)
        sys.exit(2)
    print(f"Installing {', '.join(missing)} with apt-get ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    command = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def ran(*command: str | Path, **more: Any) -> tuple[int, str]:
    """The exit status of a command, and its output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    return done.returncode, done.stdout.strip()


def compose(_: Path) -> Iterator[Row]:
    plugin = bool(shutil.which("docker")) and ran("docker", "compose", "version")[0] == 0
    command = ["docker", "compose"] if plugin else ["docker-compose"]
    environment = {**os.environ, "POSTGRES_PASSWORD": "x", "JWT_SECRET": "x" * 32}
    status, output = ran(*command, "-f", DEPLOY / "compose.yaml", "config", "--quiet", env=environment)
    yield "compose.yaml", " ".join(command) + " config", status == 0, output or "ok"


def systemd(folder: Path) -> Iterator[Row]:
    names = sorted(path.name for path in (DEPLOY / "systemd").glob("*.service"))
    for name in names:  # write all first: a unit may refer to another unit
        text = (DEPLOY / "systemd" / name).read_text()
        (folder / name).write_text(text.replace("/opt/task-service", str(ROOT)))
    for name in names:
        status, output = ran("systemd-analyze", "verify", "--man=no", folder / name)
        findings = "\n".join(line for line in output.splitlines() if "task-service" in line)
        yield f"systemd/{name}", "systemd-analyze verify", status == 0 and not findings, findings or output or "ok"
        security = ("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}")
        status, output = ran(*security, folder / name)
        score = output.splitlines()[-1].partition("service: ")[2]
        yield f"systemd/{name}", "systemd-analyze security", status == 0, score if status == 0 else output


def kubernetes(_: Path) -> Iterator[Row]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        runs = [
            ran(sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, path) for version in KUBERNETES
        ]
        passed = all(status == 0 and " passed " in output for status, output in runs)  # unknown kinds give 0 too
        result = "ok with " + " and ".join(KUBERNETES) if passed else "\n".join(output for _, output in runs)
        yield f"kubernetes/{path.name}", "kubernetes-validate", passed, result


def proxies(folder: Path) -> Iterator[Row]:
    certificate(folder)
    status, output = ran(*nginx(folder, {}), "-t")
    yield "nginx/task-service.conf", "nginx -t", status == 0, output if status else "ok"
    status, output = ran(*haproxy(folder, {}), "-c")
    yield "haproxy/haproxy.cfg", "haproxy -c", status == 0, output if status else "ok"


def prometheus(_: Path) -> Iterator[Row]:
    place = DEPLOY / "prometheus"
    for file, *command in (
        ("prometheus.yml", "check", "config"),
        ("task-service.rules.yml", "check", "rules"),
        ("task-service.test.yml", "test", "rules"),
    ):
        status, output = ran("promtool", *command, place / file)
        yield f"prometheus/{file}", f"promtool {' '.join(command)}", status == 0, output if status else "ok"


def grafana(folder: Path) -> Iterator[Row]:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    for path in sorted((DEPLOY / "grafana").glob("*.json")):
        given = json.loads(path.read_text())
        register_default_plugins()
        known = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
        lost = "\n".join(differences(given, known))
        yield f"grafana/{path.name}", "grafana-foundation-sdk", not lost, lost or "ok: every field is known"
        expressions = [target["expr"] for panel in given["panels"] for target in panel.get("targets", ())]
        rules = [
            {"record": f"q{number}", "expr": expression.replace("$__rate_interval", "1m")}
            for number, expression in enumerate(expressions)
        ]
        (folder / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
        status, output = ran("promtool", "check", "rules", folder / "queries.yml")
        result = output if status else f"ok: {len(rules)} queries"
        yield f"grafana/{path.name}", "promtool check rules", status == 0, result


def differences(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """The fields that Grafana's types do not know or read as another value."""
    match given, known:
        case dict(), dict():
            for key, value in given.items():
                yield from differences(value, known.get(key), f"{path}/{key}")
        case list(), list() if len(given) == len(known):
            for number, pair in enumerate(zip(given, known, strict=True)):
                yield from differences(*pair, f"{path}/{number}")
        case _ if given != known:
            yield f"{path}: {given!r} is read as {known!r}"


if __name__ == "__main__":
    main()
