"""The requests of the open loop: a mix of the six operations like that of a page, for many users."""

import json
import secrets
import sys
from base64 import urlsafe_b64decode
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

TASKS_OF_A_USER = 20
MIX = {"list_tasks": 6, "get_task": 4, "complete_task": 4, "update_task": 2, "create_task": 2, "delete_task": 2}
"""The number of requests of each operation among 20. As many tasks are created as deleted."""

RANDOM = secrets.SystemRandom()


class User(msgspec.Struct):
    """A user's path and token, and the tasks that are read and changed but not deleted while the load runs."""

    path: str
    token: str
    tasks: list[str] = []


class Request(msgspec.Struct, gc=False):
    """A request. `due` is when the schedule starts it, `sent` when it is written; both by `time.perf_counter`."""

    operation: str
    payload: bytes
    status: int
    user: User
    due: float = 0
    sent: float = 0


class Traffic:
    """Makes the requests, and records the tasks that they create, so that it can delete them."""

    def __init__(self, host: str, users: list[User]) -> None:
        self._host = host
        self._users = users
        self._spare: deque[tuple[User, str]] = deque()  # tasks that no other request uses: only these are deleted

    def set_up(self) -> Iterator[Request]:
        """Requests that create the tasks of all users, and a few tasks to delete."""
        for user in self._users:
            for _ in range(TASKS_OF_A_USER + 2):
                yield self._create(user)

    def clean_up(self) -> Iterator[Request]:
        """Requests that delete all created tasks."""
        for user in self._users:
            self._spare.extend((user, task) for task in user.tasks)
            user.tasks = []
        while self._spare:
            yield self._delete()

    def requests(self) -> Iterator[Request]:
        """An endless mix: each 20 requests are the operations of MIX in a random order."""
        operations = [operation for operation, count in MIX.items() for _ in range(count)]
        while True:
            RANDOM.shuffle(operations)
            for operation in operations:
                yield self._request(operation)

    def on_created(self, request: Request, body: bytes) -> None:
        """Records the task of a response to create_task."""
        task = json.loads(body)["id"]
        if len(request.user.tasks) < TASKS_OF_A_USER:
            request.user.tasks.append(task)
        else:
            self._spare.append((request.user, task))

    def _request(self, operation: str) -> Request:
        if operation == "delete_task" and self._spare:
            return self._delete()
        user = RANDOM.choice(self._users)
        if operation in ("create_task", "delete_task"):
            return self._create(user)
        if operation == "list_tasks":
            return self._make(operation, user, "GET", "?limit=20", 200)
        path = f"/{RANDOM.choice(user.tasks)}"
        if operation == "get_task":
            return self._make(operation, user, "GET", path, 200)
        if operation == "update_task":
            return self._make(operation, user, "PUT", path, 200, '{"title": "Buy oat milk"}')
        return self._make(operation, user, "PATCH", f"{path}/complete", 200, '{"completed": true}')

    def _create(self, user: User) -> Request:
        return self._make("create_task", user, "POST", "", 201, '{"title": "Buy milk", "description": "Two litres"}')

    def _delete(self) -> Request:
        user, task = self._spare.popleft()
        return self._make("delete_task", user, "DELETE", f"/{task}", 204)

    def _make(self, operation: str, user: User, method: str, path: str, status: int, body: str = "") -> Request:
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {user.path}{path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {user.token}\r\n"
        return Request(operation, f"{head}{content}\r\n{body}".encode(), status, user)


def read_users(path: Path) -> list[User]:
    """The users whose tokens are in a file, one a line. Raises SystemExit that names the first bad token."""
    try:
        tokens = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: cannot read {path}: {getattr(error, 'strerror', None) or 'not a text'}")
    if not tokens:
        sys.exit(f"error: {path} is empty: it must have a token on each line")
    users = []
    for number, token in enumerate(tokens, 1):
        try:
            payload = token.split(".")[1]
            user_id = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
        except (LookupError, ValueError, TypeError):
            sys.exit(f"error: token {number} of {path} is not a JWT with a user's id in sub")
        users.append(User(f"/api/{user_id}/tasks", token))
    return users
