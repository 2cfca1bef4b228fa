"""The claims that JWT_REQUIRED_CLAIMS requires."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from service.settings import SettingsError

WORD_LISTS = ("scope", "scp")
"""Claims whose string is a list of words separated by spaces: RFC 8693, section 4.2."""


class RequiredClaim(msgspec.Struct, frozen=True):
    """A claim that must have one of `values` or, if `excluded`, none of them."""

    name: str
    values: frozenset[str]
    excluded: bool

    def accepts(self, claims: dict[str, Any]) -> bool:
        """Whether a token's claims satisfy this requirement. An absent claim has no value."""
        found = self.name in claims and not self.values.isdisjoint(_texts(self.name, claims[self.name]))
        return found is not self.excluded


def required_claims(error_prefix: str, text: str) -> tuple[RequiredClaim, ...]:
    """Parse a list such as `name=value,name!=value`. A repeated name accepts, or with `!=` excludes, any of its values.

    Raises SettingsError, with a message that begins with `error_prefix`.
    """
    values: dict[tuple[str, bool], set[str]] = {}
    for item in text.split(",") if text else ():
        name, separator, value = item.strip().partition("=")
        excluded = name.endswith("!")
        name = name.removesuffix("!").strip()
        if not name or not separator or not value.strip():
            raise SettingsError(f"{error_prefix}JWT_REQUIRED_CLAIMS is not a list like token_use=access,client_id=abc")
        values.setdefault((name, excluded), set()).add(value.strip())
    return tuple(RequiredClaim(name, frozenset(of), excluded) for (name, excluded), of in values.items())


def _texts(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(name, item)
    elif isinstance(value, str):
        yield from value.split() if name in WORD_LISTS else (value,)
    elif isinstance(value, bool | int):
        yield json.dumps(value)
