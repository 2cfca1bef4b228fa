"""The users. Locust runs this, in an environment of its own where nothing of the service is installed.

It needs --host and, in LOAD_TOKENS, a file of tokens, one a line. With fewer tokens than users, they share them.
"""

import json
import os
import random
from base64 import urlsafe_b64decode
from itertools import cycle
from pathlib import Path
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

KEPT = 30
"""Tasks of one user at most, so that a long run asks no more at its end than at its beginning."""

tokens = cycle(Path(os.environ["LOAD_TOKENS"]).read_text().split())


class Person(FastHttpUser):
    """Somebody at a page: looks often, changes now and then, waits about a second in between.

    Touches only tasks that it has made itself, and deletes them when it leaves.
    """

    wait_time = between(0.5, 1.5)
    insecure = False  # by default locust would show the token to whoever is on the way
    connection_timeout = network_timeout = 10.0

    def on_start(self) -> None:
        token = next(tokens)
        claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
        self.path = f"/api/{claims['sub']}/tasks"
        self.headers = {"Authorization": f"Bearer {token}"}
        self.made: list[str] = []
        self.list_tasks()
        self.create_task()

    def on_stop(self) -> None:
        while self.made:
            self.delete_task()

    @task(6)
    def list_tasks(self) -> None:
        self.call("list_tasks", "GET", "", 200)

    @task(4)
    def get_task(self) -> None:
        if self.made:
            self.call("get_task", "GET", f"/{random.choice(self.made)}", 200)

    @task(3)
    def create_task(self) -> None:
        if len(self.made) == KEPT:
            self.delete_task()
        if task := self.call("create_task", "POST", "", 201, {"title": "Buy milk", "description": "Two litres"}):
            self.made.append(task["id"])

    @task(4)
    def complete_task(self) -> None:
        if self.made:
            self.call("complete_task", "PATCH", f"/{random.choice(self.made)}/complete", 200)

    @task(2)
    def update_task(self) -> None:
        if self.made:
            self.call("update_task", "PUT", f"/{random.choice(self.made)}", 200, {"title": "Buy oat milk"})

    @task(2)
    def delete_task(self) -> None:
        if self.made:
            self.call("delete_task", "DELETE", f"/{self.made.pop(0)}", 204)

    def call(self, name: str, method: str, path: str, status: int, body: dict[str, str] | None = None) -> Any:
        """The JSON of the answer, or None; anything but `status` is an error."""
        with self.client.request(
            method, self.path + path, name=name, json=body, headers=self.headers, catch_response=True
        ) as answer:
            if answer.status_code == status:
                return answer.json() if answer.content else None
            answer.failure(answer.text[:200] if answer.text else str(getattr(answer, "error", answer.status_code)))
        return None


@events.init_command_line_parser.add_listener
def add_bounds(parser: LocustArgumentParser, **_: Any) -> None:
    parser.add_argument("--max-p95", type=float, default=100, help="milliseconds (100)")
    parser.add_argument("--max-error-rate", type=float, default=0, help="percent (0)")


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Ends with status 1 when the run was out of its bounds, or did nothing."""
    total, bounds = environment.stats.total, environment.parsed_options
    if bounds is None or environment.runner is None:  # locust is a library here, and its user the judge
        return
    p95, p99 = (total.get_response_time_percentile(share) for share in (0.95, 0.99))
    errors = 100 * total.fail_ratio
    within = p95 <= bounds.max_p95 and errors <= bounds.max_error_rate
    passed = within and total.num_requests > 0 and not environment.runner.exceptions
    words = (
        f"{total.num_requests} requests, errors {errors:.2f} % (at most {bounds.max_error_rate:g} %), "
        f"p95 {p95} ms (at most {bounds.max_p95:g} ms), p99 {p99} ms: {'passed' if passed else 'FAILED'}"
    )
    environment.process_exit_code = 0 if passed else 1
    environment.events.quit.add_listener(lambda **_: print(words))  # beneath locust's own tables
