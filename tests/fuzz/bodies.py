"""Bodies: nearly valid documents, any JSON, and bytes that are not JSON, each with the expected result."""

import json
from typing import Any

from hypothesis import strategies as st

from service.tasks.types import CompleteTask, CreateTask, UpdateTask
from tests.fuzz import examples
from tests.fuzz.examples import near, values
from tests.fuzz.tally import Line, Tally, documented
from tests.hostile.target import Target

OPERATIONS = {
    "create_task": ("POST", "{tasks}"),
    "update_task": ("PUT", "{task}"),
    "complete_task": ("PATCH", "{task}/complete"),
}

READ = {
    "create_task": {"title", "description", "completed"},
    "update_task": {"title", "description"},
    "complete_task": {"completed"},
}
NEEDED = READ | {"create_task": {"title"}}
"""At least one of these is required."""

GOOD = {"title": "x", "description": "y", "completed": True}

texts = st.text(st.characters(), max_size=30) | st.builds(
    lambda character, size: character * size,
    st.sampled_from(["x", "é", "😀", " "]),
    st.sampled_from([1, 499, 500, 501]),
)
MEMBERS = {
    "title": texts | values,
    "description": texts | st.none() | values,
    "completed": st.booleans() | values,
    "id": values,
    "more": texts | values,
}


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A document as JSON, or as nearly valid JSON."""
    document = draw(near(GOOD, MEMBERS) | values)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    data = text.encode(draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16"])), "surrogatepass")
    if draw(st.booleans()):
        return data
    start = draw(st.integers(0, len(data)))
    return data[:start] + draw(st.binary(max_size=4)) + data[start + draw(st.integers(0, 4)) :]


def chunked(body: bytes, size: int) -> bytes:
    """The body in chunks of `size` bytes."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def fuzz(target: Target, tally: Tally, cases: int, seed: int) -> None:
    """Send each body to an operation that has one, whole or in chunks."""
    bodies_of = {"create_task": CreateTask, "update_task": UpdateTask, "complete_task": CompleteTask}
    what_to_do = "READ, GOOD, MEMBERS and is_good() in tests/fuzz/bodies.py must have each member that a body may have"
    assert {operation: set(body.__struct_fields__) for operation, body in bodies_of.items()} == READ, what_to_do
    assert set[str]().union(*READ.values()) <= GOOD.keys() & MEMBERS.keys(), what_to_do
    allowed = documented(target)

    with Line(target.address, tally) as line:

        def attempt(case: tuple[str, bytes, int]) -> None:
            operation, body, size = case
            method, path = OPERATIONS[operation]
            path = path.format_map(vars(target))
            if size:
                sent = target.authorized(method, path, "Transfer-Encoding: chunked", body=chunked(body, size))
            else:
                sent = target.authorized(method, path, body=body)
            answer = line.ask(sent, allowed[operation])
            expected = task_of(operation, body)
            status = 422 if expected is None else 201 if operation == "create_task" else 200
            assert answer.status == status, f"{answer.status}, not {status}"
            if expected:
                assert json.loads(answer.body).items() >= expected.items(), answer.body

        bodies = documents() | st.binary(max_size=50)
        cases_of = st.tuples(st.sampled_from(list(OPERATIONS)), bodies, st.integers(0, 9))
        examples.run(tally, cases_of, attempt, cases, seed)


class Members(list[tuple[str, Any]]):
    """The members of an object, duplicates included."""


def task_of(operation: str, body: bytes) -> dict[str, Any] | None:
    """The members that the task must have after this body; None when the body must be refused."""
    if operation == "complete_task" and not body:
        return {}
    try:
        document = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=Members, parse_constant=int
        )  # NaN raises ValueError
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate raises ValueError
    except ValueError:
        return None
    if operation == "complete_task" and document is None:
        return {}
    if not isinstance(document, Members):
        return None
    if operation == "complete_task" and not document:
        return {}
    members = [(name, value) for name, value in document if name in READ[operation]]
    if not all(is_good(name, value) for name, value in members):
        return None
    task = dict(members)
    return task if NEEDED[operation] & task.keys() else None


def is_good(name: str, value: Any) -> bool:
    """Whether a task may have this member."""
    match name, value:
        case "completed", bool():
            return True
        case "description", None:
            return True
        case "description", str():
            return "\0" not in value
        case "title", str():
            return "\0" not in value and 0 < len(value) <= 500 and not value.isspace()
        case _:
            return False
