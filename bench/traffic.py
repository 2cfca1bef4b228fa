"""The operations that are measured, as whole HTTP requests with the expected status."""

import json
import secrets
from uuid import UUID

import msgspec

from bench.load import Exchange
from service.auth.authenticator import issue_token
from service.settings import Settings

USERS = 200
SECRET = secrets.token_hex()
"""The key that the subjects trust. They do not trust STRANGER."""

STRANGER = secrets.token_hex()
TOKEN_SECONDS = 86_400


class Operation(msgspec.Struct, frozen=True):
    """One kind of request, sent by each user for each of `tasks_each` tasks.

    `secret` signs the token; without it, the request has no token. With `once`, each request succeeds only once.
    """

    method: str
    path: str
    status: str
    body: dict[str, str] | None = None
    secret: str = SECRET
    tasks_each: int = 20
    once: bool = False


OPERATIONS = {
    "get": Operation("GET", "/{task}", "200"),
    "list20": Operation("GET", "", "200"),
    "create": Operation(
        "POST", "", "201", {"title": "Buy milk, bread and a lamp", "description": "Ask for a receipt."}
    ),
    "update": Operation("PUT", "/{task}", "200", {"title": "Buy oat milk and a lamp", "description": "Two cartons."}),
    "toggle": Operation("PATCH", "/{task}/complete", "200"),
    "delete": Operation("DELETE", "/{task}", "204", tasks_each=250, once=True),
    "401": Operation("GET", "/{task}", "401", secret=""),
    "401bad": Operation("GET", "/{task}", "401", secret=STRANGER),
    "422": Operation("POST", "", "422", {"title": ""}),
}
"""By their names on the command line. 401 has no token, 401bad has an invalid signature, 422 has an empty title."""


def user_id(user: int) -> str:
    """The id of user number 1, 2, 3 ... in the seeded database."""
    return f"00000000-0000-4000-8000-{user:012}"


def task_id(user: int, task: int) -> str:
    """The id of the user's task number 1, 2, 3 ... there."""
    return f"00000000-0000-4001-8000-{task:06}{user:06}"


def exchanges(operation: Operation) -> list[Exchange]:
    """The operation's requests, in random order."""
    made = []
    for user in range(1, USERS + 1):
        authorization = ""
        if operation.secret:
            settings = Settings(database_url="postgresql:///", jwt_secret=operation.secret)
            token = issue_token(settings, UUID(user_id(user)), TOKEN_SECONDS)
            authorization = f"Authorization: Bearer {token}\r\n"
        body = json.dumps(operation.body) if operation.body else ""
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        for task in range(1, operation.tasks_each + 1):
            path = f"/api/{user_id(user)}/tasks" + operation.path.format(task=task_id(user, task))
            head = f"{operation.method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}{content}\r\n"
            made.append(Exchange((head + body).encode(), operation.status.encode()))
    secrets.SystemRandom().shuffle(made)
    return made
