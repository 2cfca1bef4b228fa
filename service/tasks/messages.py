"""The sentence for each value of a task request that is not valid: `errors[].msg`, and so the problem's `detail`.

Keys are the error's place and type. Each sentence may be shown to a user. tests/tasks/test_messages.py drives each one.
"""

from service.api import problems
from service.api.problems import Problem

MESSAGES = problems.MESSAGES | {
    "body.missing": "Send a title or a description to change.",
    "body.title.missing": "A title is required.",
    "body.title.type": "The title must be text.",
    "body.title.too_short": "The title must not be empty.",
    "body.title.too_long": "The title may have at most 500 characters.",
    "body.title.pattern": "The title must not be blank or contain the character U+0000.",
    "body.title.surrogate": "The title contains half of a surrogate pair, which is not a character.",
    "body.description.type": "The description must be text.",
    "body.description.pattern": "The description must not contain the character U+0000.",
    "body.description.surrogate": "The description contains half of a surrogate pair, which is not a character.",
    "body.completed.missing": "Say whether the task is completed: true or false.",
    "body.completed.type": "The value of completed must be true or false.",
    "query.limit.value": "The limit must be a whole number from 1 to 500.",
    "query.limit.repeated": "The limit may be given only once.",
    "query.cursor.value": "The cursor is not one that this service has made.",
    "query.cursor.repeated": "The cursor may be given only once.",
    "query.cursor.cursor": "The cursor belongs to another list. Start again at the first page.",
    "query.completed.value": "The value of completed must be true or false.",
    "query.completed.repeated": "The value of completed may be given only once.",
    "query.sort.value": "The order must be one of -created_at, created_at, -updated_at and updated_at.",
    "query.sort.repeated": "The order may be given only once.",
    "query.q.value": "The search text may have at most 200 characters, and not the character U+0000.",
    "query.q.repeated": "The search text may be given only once.",
    "header.Idempotency-Key.value": "The Idempotency-Key must have 1 to 255 visible ASCII characters.",
    "header.Idempotency-Key.reused": "The Idempotency-Key was used for another task. Use a new key.",
    "header.Idempotency-Key.flip": (
        "A repeated flip would undo itself, whatever its Idempotency-Key. "
        'Send {"completed": true} or {"completed": false}, or If-Match with the version.'
    ),
}


def invalid(*place: str) -> Problem:
    """A 422 for the place and the error's type, such as "body", "title", "missing"."""
    *loc, type = place
    return problems.invalid(loc, type, MESSAGES)
