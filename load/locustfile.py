"""Simulated users of the task service, for locust. One long file that needs only locust, so that a team can copy it.

    python -m service token --count 200 > tokens.txt
    locust -f locustfile.py --host http://127.0.0.1:4000 --tokens tokens.txt --headless --shape smoke

The exit status is 1 when an operation exceeds its row of BOUNDS, when not all users were running, or when nothing was
measured. Requests that users send while they start, warm up or stop are not judged.
"""

import html
import json
import platform
import random
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import urlsafe_b64decode
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from math import inf
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import gevent
from locust import FastHttpUser, LoadTestShape, __version__, events, tag, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.html import get_html_report, process_html_filename
from locust.runners import MasterRunner, Runner, WorkerRunner

BOUNDS = {  # operation: p95 and p99 in milliseconds, errors in percent; each is the highest value that passes
    "list_tasks": (100, 250, 0),
    "list_tasks next page": (100, 250, 0),
    "list_tasks all": (200, 500, 0),
    "list_tasks search": (200, 500, 0),
    "get_task": (100, 250, 0),
    "create_task": (100, 250, 0),
    "create_task import": (200, 500, 0),
    "update_task": (100, 250, 0),
    "complete_task": (100, 250, 0),
    "delete_task": (100, 250, 0),
}


class Stage(NamedTuple):
    """A part of a shape: `users` is a factor of --users, `share` a part of --run-time."""

    name: str
    users: float
    share: float
    judged: bool = True


SHAPES = {  # --shape: --run-time in seconds when none is given, and the stages
    "smoke": (30, [Stage("smoke", 0.2, 1)]),
    "average": (60, [Stage("average", 1, 1)]),
    "stress": (
        120,
        [Stage("1x", 1, 0.25), Stage("4x", 4, 0.25), Stage("10x", 10, 0.25, False), Stage("20x", 20, 0.25, False)],
    ),
    "spike": (90, [Stage("before", 1, 0.3), Stage("spike", 20, 0.3, False), Stage("after", 1, 0.4)]),
    "soak": (600, [Stage("soak", 1, 1)]),
}
PLAIN = [Stage("load", 1, 1)]
"""The stage without --shape: from the end of the warm-up until locust stops."""

USERS = 50
PAGE_SIZE = 20
TASKS_OF_A_PAGE = 30
TASKS_OF_A_LISTER = 60


class Client(FastHttpUser):
    """Calls the operations with one token. It changes only tasks that it created, and deletes them when it stops."""

    abstract = True
    insecure = False  # locust does not verify certificates by default
    connection_timeout = network_timeout = 10.0
    pause = 1.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.client.request_event = Recorder(environment)
        token = next(RUN.tokens)
        self.path = f"/api/{claims(token)['sub']}/tasks"
        self.authorization = {"Authorization": f"Bearer {token}"}
        self.etags: dict[str, str] = {}  # by the id of a task that this user created
        self.is_ready = False

    def wait_time(self) -> float:
        return self.pause * random.uniform(0.5, 1.5) * float(self.environment.parsed_options.think_time)

    def on_start(self) -> None:
        self.set_up()
        self.is_ready = True

    def on_stop(self) -> None:
        self.is_ready = False
        self.delete_all()

    def set_up(self) -> None:
        """Creates the tasks that the user needs. These requests are not judged."""

    def delete_all(self) -> None:
        for task_id in [*self.etags, *self.etags]:  # twice, because a deletion may fail
            if task_id in self.etags:
                self.delete(task_id)

    def create(self, title: str, description: str | None = None, name: str = "create_task") -> None:
        body = {"title": title, "description": description}
        answer = self.call(name, "POST", "", (201,), body, {"Idempotency-Key": str(uuid4())})
        if answer is not None:
            self.etags[answer.json()["id"]] = answer.headers["ETag"]

    def change(self, name: str, method: str, suffix: str, body: dict[str, Any]) -> None:
        """Changes one of its tasks, with the entity tag that this user received last."""
        if self.etags:
            task_id, etag = random.choice(list(self.etags.items()))
            answer = self.call(name, method, f"/{task_id}{suffix}", (200,), body, {"If-Match": etag})
            if answer is not None:
                self.etags[task_id] = answer.headers["ETag"]

    def delete(self, task_id: str) -> None:
        known = {"If-Match": self.etags[task_id]}
        if self.call("delete_task", "DELETE", f"/{task_id}", (204,), None, known) is not None:
            del self.etags[task_id]

    def call(
        self, name: str, method: str, path: str, expected: tuple[int, ...], body: Any = None, headers: Any = None
    ) -> Any:
        """The response, or None when its status is not `expected`: then the request is a failure."""
        headers = self.authorization | (headers or {})
        context = {"stage": RUN.stage if self.is_ready else ""}
        with self.client.request(
            method, self.path + path, name, json=body, headers=headers, context=context, catch_response=True
        ) as answer:
            if answer.status_code in expected:
                answer.success()
                return answer
            answer.failure(f"{answer.status_code}: {answer.text[:200] if answer.text else answer.error}")
        return None


class Page(Client):
    """A user of a page like examples/frontend: reads often, and sometimes changes a task."""

    weight = 8

    def set_up(self) -> None:
        self.list_etag = self.next_page = ""
        for number in range(random.choice((1, 1, 1, 1, PAGE_SIZE + 1))):
            self.create(f"Task {number}")
        self.reload()

    @tag("read")
    @task(6)
    def reload(self) -> None:
        known = {"If-None-Match": self.list_etag} if self.list_etag else {}
        answer = self.call("list_tasks", "GET", f"?limit={PAGE_SIZE}", (200, 304), None, known)
        if answer is not None and answer.status_code == 200:
            self.list_etag = answer.headers.get("ETag", "")
            self.next_page = next_page(answer)

    @tag("read")
    @task(2)
    def show_more(self) -> None:
        if self.next_page:
            self.call("list_tasks next page", "GET", self.next_page, (200,))

    @tag("read")
    @task(4)
    def open_task(self) -> None:
        if self.etags:
            task_id, etag = random.choice(list(self.etags.items()))
            known = {"If-None-Match": etag} if random.random() < 0.5 else {}
            self.call("get_task", "GET", f"/{task_id}", (200, 304), None, known)

    @tag("write")
    @task(3)
    def add(self) -> None:
        if len(self.etags) >= TASKS_OF_A_PAGE:
            self.delete(next(iter(self.etags)))
        self.create("Buy milk")

    @tag("write")
    @task(4)
    def complete(self) -> None:
        self.change("complete_task", "PATCH", "/complete", {"completed": random.random() < 0.7})

    @tag("write")
    @task(2)
    def edit(self) -> None:
        self.change("update_task", "PUT", "", {"title": "Buy oat milk", "description": "two cartons"})

    @tag("write")
    @task(2)
    def remove(self) -> None:
        if self.etags:
            self.delete(random.choice(list(self.etags)))


class Lister(Client):
    """A user with a long list: reads all of it, searches it and follows its pages."""

    def set_up(self) -> None:
        for number in range(TASKS_OF_A_LISTER):
            self.create(f"Task {number}", "Long enough to be worth compressing. " * 4)

    @tag("read", "heavy")
    @task(2)
    def list_all(self) -> None:
        self.call("list_tasks all", "GET", "", (200,))

    @tag("read", "heavy")
    @task(2)
    def search(self) -> None:
        query = f"?q=task%20{random.randrange(10)}&completed=false&sort=-updated_at&limit=50"
        self.call("list_tasks search", "GET", query, (200,))

    @tag("read", "heavy")
    @task(1)
    def follow_pages(self) -> None:
        page = "?limit=20"
        while page:
            page = next_page(self.call("list_tasks next page", "GET", page, (200,)))


class Importer(Client):
    """A program that creates 20 tasks without a pause, every tenth with a description of 10 KB, and deletes them."""

    pause = 5.0

    @tag("write", "heavy")
    @task
    def import_tasks(self) -> None:
        for number in range(20):
            self.create(f"Imported {number}", "x" * 10_000 if number % 10 == 0 else None, "create_task import")
        self.delete_all()


def next_page(answer: Any) -> str:
    """The query of the next page; empty after the last page and after a failure."""
    link = "" if answer is None else answer.headers.get("Link", "")
    return link[link.find("?") : link.find(">")] if link else ""


# The rest of the file runs the stages, distributes the tokens, judges the run and writes the report.


class Times:
    """Response times of an operation in a stage, in milliseconds, failed requests included."""

    def __init__(self) -> None:
        self.counts: Counter[float] = Counter()
        self.failures = 0

    def add(self, counts: dict[float, int], failures: int) -> None:
        self.counts.update(counts)
        self.failures += failures

    def percentile(self, share: float) -> float:
        """By nearest rank."""
        left = share * self.counts.total()
        for milliseconds in sorted(self.counts):
            left -= self.counts[milliseconds]
            if left <= 0:
                return milliseconds
        return max(self.counts)


class Run:
    """The state of the run in this process. A worker sends its results to the master and clears them."""

    def __init__(self) -> None:
        self.stage = ""  # requests that start while this is empty are not judged
        self.measuring = False  # true from the first stage on
        self.tokens: Iterator[str] = iter(())
        self.runner: Runner | None = None
        self.begun: set[str] = set()  # the stages that were measured, whether or not they have requests
        self.ready_elsewhere: dict[str, int] = {}  # by worker, in the master
        self.results: dict[tuple[str, str], Times] = defaultdict(Times)  # by stage and operation
        self.service = "unknown"

    def ready_users(self) -> int:
        """How many users are set up, in this process and its workers. A user that is no Client needs no set-up."""
        users = [greenlet.args[0] for greenlet in self.runner.user_greenlets if greenlet.args]
        ready = [user for user in users if not isinstance(user, Client) or user.is_ready]
        return len(ready) + sum(self.ready_elsewhere.values())

    def drain(self) -> list[Any]:
        """The results in a form that locust's messages can hold."""
        drained = [[*key, list(times.counts.items()), times.failures] for key, times in self.results.items()]
        self.results.clear()
        return drained

    def merge(self, drained: list[Any]) -> None:
        for stage, operation, counts, failures in drained:
            self.results[stage, operation].add(dict(counts), failures)


RUN = Run()


class Recorder:
    """Replaces locust's request event in a user: records the request, then passes it on to locust."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def fire(self, **request: Any) -> None:
        stage, milliseconds = request["context"].get("stage", RUN.stage), request["response_time"]
        rounded = round(milliseconds, 1) if milliseconds < 100 else round(milliseconds)
        RUN.results[stage, request["name"]].add({rounded: 1}, request["exception"] is not None)
        if stage or not RUN.measuring:  # locust's tables exclude users that stop, as the verdict does
            self.environment.events.request.fire(**request)


class Profile(LoadTestShape):
    """The stages of --shape. A stage is measured from when all its users are running and have warmed up."""

    use_common_options = True
    ticks: Iterator[tuple[int, float]] | None = None

    def reset_time(self) -> None:
        super().reset_time()
        self.ticks = None

    def tick(self) -> tuple[int, float] | None:
        self.ticks = self.ticks or self.steps()
        return next(self.ticks, None)

    def steps(self) -> Iterator[tuple[int, float]]:
        options = self.runner.environment.parsed_options
        seconds, stages = SHAPES[options.shape]
        for stage in stages:
            users = max(1, round(stage.users * options.num_users))
            rate = options.spawn_rate or min(50, max(10, users / 10))
            surplus = self.runner.user_count - users  # users to stop, all in one step: locust waits after each step
            step = users, max(rate, surplus)
            give_up = time.monotonic() + abs(surplus) / step[1] + 60
            while not self.runner.user_count == RUN.ready_users() == users:
                if time.monotonic() > give_up:
                    return
                yield step
            warm = time.monotonic() + options.warm_up
            while time.monotonic() < warm:
                yield step
            begin(self.runner, stage.name)
            end = time.monotonic() + stage.share * (options.run_time or seconds)
            while time.monotonic() < end:
                yield step
            begin(self.runner, "")


def begin(runner: Runner, stage: str) -> None:
    """Begins a stage in this process and in its workers."""
    if isinstance(runner, MasterRunner):
        on_stage(runner.environment, stage)
    runner.send_message("stage", stage)  # a runner without workers calls its own listener


def on_stage(environment: Environment, stage: str) -> None:
    if stage and not RUN.measuring:
        RUN.measuring = True
        environment.stats.reset_all()  # locust's tables and charts exclude the warm-up too
    RUN.begun.add(stage)
    RUN.stage = stage


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    add = parser.add_argument  # defaults are floats: the web page takes the type of a default
    seconds: dict[str, Any] = {"type": float, "metavar": "SECONDS"}
    tokens = "tokens of users, one a line; a worker gets its tokens from the master"
    add("--tokens", type=token_file, env_var="LOCUST_TOKENS", metavar="FILE", include_in_web_ui=False, help=tokens)
    add("--shape", choices=list(SHAPES), include_in_web_ui=False, help="vary the users by SHAPES, from --users")
    add("--warm-up", default=5.0, help="not judged, after all users are running (5)", **seconds)
    add("--think-time", default=1.0, help="mean pause of a user between two requests (1)", **seconds)
    add(
        "--tolerance",
        type=float,
        default=1.0,
        env_var="LOCUST_TOLERANCE",
        metavar="FACTOR",
        help="multiply BOUNDS' times",
    )
    add("--reports", default="reports", metavar="DIR", include_in_web_ui=False, help="for HTML reports (reports)")


def claims(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def token_file(name: str) -> str:
    """The name of a file of tokens. Raises SystemExit that names the first bad token."""
    try:
        tokens = Path(name).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"error: cannot read {name}: {getattr(error, 'strerror', None) or 'not a text'}") from None
    if not tokens:
        raise SystemExit(f"error: {name} is empty: it must have a token on each line")
    for number, token in enumerate(tokens, 1):
        try:
            payload = claims(token)
            user, expired = payload["sub"], payload.get("exp", inf) < time.time()
        except (LookupError, ValueError, TypeError, AttributeError):
            raise SystemExit(f"error: token {number} of {name} is not a JWT with a user's id in sub") from None
        if not isinstance(user, str) or expired:
            fault = "has expired" if expired else "has a sub that is no text"
            raise SystemExit(f"error: token {number} of {name} {fault}")
    return name


@events.init.add_listener
def on_init(environment: Environment, runner: Runner, **_: Any) -> None:
    options, RUN.runner = environment.parsed_options, runner
    main = gevent.getcurrent()

    def interrupt(*_: Any) -> None:
        # Python would raise KeyboardInterrupt in the greenlet that runs: a user would end without deleting its tasks.
        gevent.kill(main, KeyboardInterrupt)

    signal.signal(signal.SIGINT, interrupt)
    runner.register_message("stage", lambda environment, msg, **_: on_stage(environment, msg.data))
    if isinstance(runner, WorkerRunner):
        runner.register_message("tokens", lambda msg, **_: set_tokens(msg.data))
        return
    runner.register_message("results", lambda msg, **_: RUN.merge(msg.data))
    if not options.tokens:
        sys.exit("error: --tokens FILE is missing: tokens of users, one a line (python -m service token --count 200)")
    if options.headless and not environment.host:
        sys.exit("error: --host URL is missing: the address of the service")
    environment._filter_tasks_by_tags()
    environment.user_classes[:] = [user for user in environment.user_classes if user.tasks]  # locust fails without
    if not environment.user_classes:
        sys.exit("error: no request of these users has the tags that --tags and --exclude-tags leave")
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{options.shape or PLAIN[0].name}.html"
    options.html_file = options.html_file or f"{options.reports}/{name}"
    process_html_filename(options)  # locust would fill in {u}, {r} and {t} after this check
    if Path(options.html_file).exists():
        sys.exit(f"error: {options.html_file} exists and is not overwritten: choose another name for --html")

    def on_all_users_running(**_: Any) -> None:
        while RUN.ready_users() < runner.user_count:
            gevent.sleep(0.1)
        gevent.sleep(options.warm_up)
        if runner.state == "running" and not RUN.stage:
            begin(runner, PLAIN[0].name)

    if options.shape:
        signal.signal(signal.SIGTERM, interrupt)  # locust replaces it, in headless mode when the shape has ended
        # Without these, locust would take 1 for both.
        options.num_users, options.spawn_rate = options.num_users or USERS, options.spawn_rate or 0
    else:
        environment.shape_class = None
        environment.events.spawning_complete.add_listener(lambda **_: gevent.spawn(on_all_users_running))


def set_tokens(tokens: list[str]) -> None:
    RUN.tokens = cycle(tokens)


@events.test_start.add_listener
def on_test_start(environment: Environment, **_: Any) -> None:
    """Starts a run without results. The master gives each worker its own tokens before users start."""
    RUN.stage, RUN.measuring = "", False
    RUN.begun.clear()
    RUN.ready_elsewhere.clear()
    RUN.results.clear()
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        return
    tokens = Path(environment.parsed_options.tokens).read_text().split()
    if isinstance(runner, MasterRunner):
        workers = list(runner.clients)
        for number, worker in enumerate(workers):
            runner.send_message("tokens", tokens[number :: len(workers)] or tokens, worker)
    else:
        set_tokens(tokens)
    try:
        with urllib.request.urlopen(f"{environment.host}/openapi.json", timeout=5) as answer:
            RUN.service = json.load(answer)["info"]["version"]
    except (OSError, ValueError, LookupError):
        RUN.service = "unknown"


@events.test_stopping.add_listener
def on_test_stopping(environment: Environment, **_: Any) -> None:
    RUN.stage = ""
    if isinstance(environment.runner, WorkerRunner):  # the master does not wait for the next report
        environment.runner.send_message("results", RUN.drain())


@events.report_to_master.add_listener
def on_report_to_master(data: dict[str, Any], **_: Any) -> None:
    data["results"], data["ready"] = RUN.drain(), RUN.ready_users()


@events.worker_report.add_listener
def on_worker_report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    RUN.ready_elsewhere[client_id] = data["ready"]
    RUN.merge(data["results"])


HEADINGS = ["stage", "operation", "requests", "errors % (max)", "p50 ms", "p95 ms (max)", "p99 ms (max)", "result"]


def table_of(stages: list[Stage], tolerance: float) -> list[list[str]]:
    """A row for each stage and operation, with "ok" or the reason of the failure in its last cell."""
    table = []
    for stage in stages:
        for operation, times in sorted((key[1], times) for key, times in RUN.results.items() if key[0] == stage.name):
            p95_bound, p99_bound, errors_bound = BOUNDS.get(operation, (inf, inf, 0))
            p50, p95, p99 = (times.percentile(share) for share in (0.5, 0.95, 0.99))
            errors = 100 * times.failures / times.counts.total()
            slow = p95 > p95_bound * tolerance or p99 > p99_bound * tolerance
            result = "errors" if errors > errors_bound else "too slow" if slow else "ok"
            table.append([
                stage.name, operation, f"{times.counts.total():,}", f"{errors:.2f} ({errors_bound:g})", f"{p50:g}",
                f"{p95:g} ({p95_bound * tolerance:g})", f"{p99:g} ({p99_bound * tolerance:g})",
                result if stage.judged else f"({result})",
            ])  # fmt: skip
    return table


def reasons_to_fail(table: list[list[str]], stages: list[Stage], exceptions: int) -> list[str]:
    measured = {row[0] for row in table}
    absent = [stage.name for stage in stages if stage.name not in measured]
    early, idle = "the run ended before all its users were running", "no user of class Client sent a request"
    reasons = [f"stage {name} was not measured: {idle if name in RUN.begun else early}" for name in absent]
    reasons += [f"{row[1]} in stage {row[0]}: {row[-1]}" for row in table if row[-1] in ("errors", "too slow")]
    return reasons + [f"{exceptions} exceptions in the locustfile"] * bool(exceptions)


@events.quitting.add_listener
def on_quitting(environment: Environment, **_: Any) -> None:
    """Judges the run: sets the exit status, completes the report, and prints the verdict below locust's tables."""
    runner, options = environment.runner, environment.parsed_options
    if runner is None or isinstance(runner, WorkerRunner):
        return
    stages = SHAPES[options.shape][1] if options.shape else PLAIN
    table = table_of(stages, options.tolerance)
    reasons = reasons_to_fail(table, stages, len(runner.exceptions))
    words = f"FAILED: {'; '.join(reasons)}" if reasons else "passed"
    environment.process_exit_code = 1 if reasons else 0
    widths = [max(map(len, column)) for column in zip(HEADINGS, *table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [HEADINGS, *table]]
    unjudged = [times for key, times in RUN.results.items() if not key[0]]
    requests, failed = sum(times.counts.total() for times in unjudged), sum(times.failures for times in unjudged)
    lines += [f"Not judged: {requests:,} requests of users that started, warmed up or stopped ({failed:,} failed)."]
    if runner.cpu_warning_emitted or runner.worker_cpu_warning_emitted:
        lines += ["Warning: locust used over 90 % of a core, so that these times are partly its own: use --processes."]
    lines += [f"Report: {options.html_file}", words]
    complete_report(environment, words, table)
    environment.events.quit.add_listener(lambda **_: print("\n".join(lines), flush=True))


def complete_report(environment: Environment, words: str, table: list[list[str]]) -> None:
    """Puts the verdict, the bounds and the versions above locust's own report."""
    options = environment.parsed_options
    path = Path(options.html_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = path.read_text() if path.exists() else get_html_report(environment, show_download_link=False)
    facts = {
        "Target": f"{environment.host}, version {RUN.service}",
        "Commit of the locustfile": commit(),
        "Generator": f"locust {__version__}, Python {platform.python_version()}, {platform.platform()}",
        "Users": f"{options.num_users}, think time {options.think_time:g} s, warm-up {options.warm_up:g} s",
        "Options": " ".join(sys.argv[1:]),
    }
    cells = [f"<th>{'<th>'.join(HEADINGS)}"]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in table]
    section = f"""<section style="font-family: sans-serif; margin: 2em auto; max-width: 1150px">
<h1>{html.escape(words)}</h1><table cellpadding="4" style="text-align: left"><tr>{"</tr><tr>".join(cells)}</tr></table>
<p>{"<br>".join(f"{name}: {html.escape(fact)}" for name, fact in facts.items())}</p></section>"""
    path.write_text(page.replace("<body>", f"<body>{section}", 1))


def commit() -> str:
    git = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    except OSError:  # no git here
        return "unknown"
