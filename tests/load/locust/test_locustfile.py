"""The locustfile, run by the real locust against the real service."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from service.settings import ROOT
from service.version import VERSION
from tests.ports import free_port, listens
from tests.serving import Api, until

PYTHON = ROOT / ".venv-load" / "bin" / "python"
LOCUST = [str(PYTHON), "-m", "locust", "-f", str(ROOT / "load" / "locustfile.py")]


@pytest.fixture
def tokens(api: Api, tmp_path: Path) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_text("".join(f"{api.caller().token}\n" for _ in range(12)))
    return path


def locust(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    command = [*LOCUST, "--headless", "--only-summary", "--warm-up", "0", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def against(api: Api, tokens: Path, *options: str) -> subprocess.CompletedProcess[str]:
    host = f"http://127.0.0.1:{api.address[1]}"
    return locust(
        tokens.parent,
        "--host",
        host,
        "--tokens",
        str(tokens),
        "--stop-timeout",
        "10",
        "--loglevel",
        "WARNING",
        *options,
    )


def test_locust_smoke_passes_reports_and_deletes_what_it_created(
    api: Api, tokens: Path, rows: Callable[..., list[Any]]
) -> None:
    done = against(api, tokens, "--shape", "smoke", "--run-time", "3", "--think-time", "0.05", "--tolerance", "100")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "passed"
    operations = {re.split(r"  +", line)[1] for line in lines if line.startswith("smoke ")}
    assert operations >= {"list_tasks", "list_tasks all", "get_task", "create_task", "update_task", "complete_task"}
    (report,) = tokens.parent.glob("reports/*.html")
    page = report.read_text()
    assert "<h1>passed</h1>" in page
    assert re.search(
        r"<td>smoke</td><td>list_tasks</td><td>\d+</td><td>0.00 \(0\)</td><td>[\d.]+</td><td>[\d.]+ \(10000\)</td>",
        page,
    )
    for fact in (
        "Target: http://127.0.0.1",
        f"version {VERSION}",
        "Commit of the locustfile: ",
        "locust 2.",
        "--shape smoke",
    ):
        assert fact in page
    assert "window.templateArgs" in page  # the report of locust itself follows
    assert rows("select count(*) from tasks") == [(0,)], done.stdout + done.stderr


def test_locust_gives_each_process_its_own_tokens_and_fails_beyond_a_bound(
    api: Api, tokens: Path, rows: Callable[..., list[Any]]
) -> None:
    options = (
        "--tags",
        "read",
        "--processes",
        "2",
        "-u",
        "12",
        "-r",
        "12",
        "-t",
        "6",
        "--think-time",
        "0.1",
        "--tolerance",
        "0",
    )
    done = against(api, tokens, *options)

    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^FAILED: .*list_tasks in stage load: too slow", done.stdout, re.MULTILINE)
    assert rows("select count(*) from users") == [(12,)]


def test_locust_fails_when_the_run_ends_before_all_users_run(api: Api, tokens: Path) -> None:
    done = against(api, tokens, "-u", "100", "-r", "1", "-t", "2")

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        "FAILED: stage load was not measured: the run ended before all its users were running"
    )


OTHER_USER = """
from locust import HttpUser, constant, task

class Visitor(HttpUser):
    weight = 8
    wait_time = constant(0.1)

    @task
    def visit(self):
        self.client.get("/livez")
"""


@pytest.mark.parametrize("shape", [["--shape", "smoke"], []])
@pytest.mark.parametrize(
    ("users", "verdict"),
    [
        (["Page", "Visitor"], "passed"),
        (["Visitor"], "FAILED: stage {} was not measured: no user of class Client sent a request"),
    ],
)
def test_locust_does_not_judge_users_of_another_class(
    api: Api, tokens: Path, users: list[str], verdict: str, shape: list[str]
) -> None:
    (tokens.parent / "visitor.py").write_text(OTHER_USER)
    files = ["-f", f"{ROOT / 'load' / 'locustfile.py'},visitor.py"]

    options = [*shape, "-u", "20", "-r", "20", "-t", "3", "--think-time", "0.1", "--tolerance", "100"]
    done = against(api, tokens, *files, *options, *users)

    assert done.stdout.splitlines()[-1] == verdict.format(shape[-1] if shape else "load"), done.stdout + done.stderr
    assert re.search(r"^GET +/livez +\d+ +0\(", done.stderr, re.MULTILINE), done.stderr  # a table of locust itself
    assert "Traceback" not in done.stderr


def test_ci_example_runs_as_it_stands(api: Api, tokens: Path) -> None:
    """All steps of the job for a deployment except the installation, with a shorter time and with wide bounds."""
    for name in (".venv-load", "load"):
        (tokens.parent / name).symlink_to(ROOT / name)
    workflow = msgspec.yaml.decode((ROOT / "examples" / "ci" / "load-test.yml").read_bytes())
    steps = [step["run"] for step in workflow["jobs"]["deployment"]["steps"] if "run" in step]
    assert "pip install" in steps.pop(0)
    environment = os.environ | {
        "LOCUST_HOST": f"http://127.0.0.1:{api.address[1]}",
        "LOAD_TOKENS": tokens.read_text(),
        "LOCUST_RUN_TIME": "2s",
        "LOCUST_TOLERANCE": "1000",
    }
    tokens.unlink()

    for step in steps:
        done = subprocess.run(["bash", "-ec", step], cwd=tokens.parent, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    assert done.stdout.endswith("passed\n")
    assert (tokens.parent / "reports" / "smoke_stats.csv").exists()
    assert len(list(tokens.parent.glob("reports/*-smoke.html"))) == 1


def test_locust_starts_from_its_web_page(api: Api, tokens: Path) -> None:
    """The page sends each option as a text, and locust converts it to the type of the default."""
    page = f"http://127.0.0.1:{free_port()}"
    options = ("--web-host", "127.0.0.1", "--web-port", page.rpartition(":")[2], "--tokens", str(tokens))
    form = {"user_count": 4, "spawn_rate": 4, "host": f"http://127.0.0.1:{api.address[1]}", "tolerance": "1000"}
    form |= {"think_time": "0.1", "warm_up": "0.5"}
    process = subprocess.Popen([*LOCUST, *options], cwd=tokens.parent, stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: listens(int(page.rpartition(":")[2])))
        assert httpx.post(f"{page}/swarm", data=form).json()["success"] is True
        until(lambda: httpx.get(f"{page}/stats/requests").json()["total_rps"] > 0, 20)
        time.sleep(2)  # the measured time
    finally:
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=30)[0]

    assert printed.endswith("passed\n"), printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_locust_deletes_its_tasks_and_reports_after_a_signal(
    api: Api, tokens: Path, rows: Callable[..., list[Any]], number: signal.Signals
) -> None:
    options = ("--host", f"http://127.0.0.1:{api.address[1]}", "--tokens", str(tokens), "--headless", "-u", "5")
    command = [*LOCUST, *options, "--shape", "average", "--stop-timeout", "10"]
    process = subprocess.Popen(command, cwd=tokens.parent, stdout=subprocess.PIPE, text=True)
    until(lambda: rows("select count(*) from tasks") != [(0,)], 30)

    process.send_signal(number)

    assert "Report: " in process.communicate(timeout=30)[0]
    assert rows("select count(*) from tasks") == [(0,)]


def test_locust_does_not_overwrite_a_report(api: Api, tokens: Path) -> None:
    report = tokens.parent / "kept.html"
    report.write_text("mine")

    done = against(api, tokens, "-t", "1", "--html", str(report))

    assert done.returncode == 1
    assert done.stderr == f"error: {report} exists and is not overwritten: choose another name for --html\n"
    assert report.read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read {}: No such file or directory"),
        (b"\n", "{} is empty: it must have a token on each line"),
        (b"\xff\xfe", "cannot read {}: not a text"),
        (b"a.b.c\n", "token 1 of {} is not a JWT with a user's id in sub"),
        (b"a.eyJzdWIiOiAidSIsICJleHAiOiAxfQ.c", "token 1 of {} has expired"),
        (b"a.eyJzdWIiOiAxfQ.c", "token 1 of {} has a sub that is no text"),
    ],
)
def test_locust_refuses_a_bad_token_file_in_one_line(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    if content is not None:
        path.write_bytes(content)

    done = locust(tmp_path, "--host", "http://127.0.0.1:9", "--tokens", str(path))

    assert done.returncode == 1
    assert done.stderr == f"error: {words.format(path)}\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "http://127.0.0.1:9"], "error: --tokens FILE is missing"),
        (["--tokens", "tokens.txt"], "error: --host URL is missing"),
        (
            ["--host", "http://127.0.0.1:9", "--tokens", "tokens.txt", "--tags", "red"],
            "error: no request of these users",
        ),
    ],
)
def test_locust_names_the_missing_option_in_one_line(options: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("a.eyJzdWIiOiAidSJ9.c\n")

    done = locust(tmp_path, *options, "--loglevel", "ERROR")

    assert done.returncode == 1
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1
