"""Examples by hypothesis: any JSON, and objects near a valid one."""

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.tally import Tally

T = TypeVar("T")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
"""Small JSON values, and NaN and the infinities, which are not JSON."""


@st.composite
def near(draw: st.DrawFn, good: dict[str, Any], members: dict[str, SearchStrategy[Any]]) -> dict[str, Any]:
    """The valid object with up to three members removed, added or changed."""
    changed = dict(good)
    for name in draw(st.lists(st.sampled_from(list(members)), max_size=3)):
        if name in changed and draw(st.booleans()):
            del changed[name]
        else:
            changed[name] = draw(members[name])
    return changed


def run(tally: Tally, examples: SearchStrategy[T], attempt: Callable[[T], object], cases: int, seed: int) -> None:
    """Attempt `cases` examples, or fewer when one fails. The failure is recorded."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # shrinking may take minutes
    )
    @hypothesis.given(examples)
    def each(example: T) -> None:
        tally.cases += 1
        try:
            attempt(example)
        except Exception as error:
            error.add_note(repr(example))  # hypothesis prints some strategies' examples as nothing
            raise

    try:
        each()
    except Exception as error:  # the other kinds still run
        tally.failures.append("".join(traceback.format_exception(error)))
