"""Converts the text of an environment variable to the type of its setting. Imports nothing of the service."""

import re
from typing import Any, get_args

import msgspec

DURATION = re.compile(r"([0-9.]+) ?(ms|s|m)", re.ASCII).fullmatch
SECONDS = {"ms": 0.001, "s": 1, "m": 60}


def convert(kind: Any, text: str) -> Any:
    """The value of a setting whose annotated type is `kind`. Raises ValueError that says what the setting may be."""
    base = get_args(kind)[0]
    if base is not str:
        text = text.lower()
    try:
        if base is float and (duration := DURATION(text)):
            return msgspec.convert(float(duration[1]) * SECONDS[duration[2]], kind)
        return msgspec.convert(text, kind, strict=False)
    except (msgspec.ValidationError, ValueError):
        raise ValueError(_rule(kind)) from None


def _rule(kind: Any) -> str:
    base, *metas = get_args(kind)
    bounds = {key: value for meta in metas for key in ("ge", "gt", "le") if (value := getattr(meta, key)) is not None}
    if base is bool:
        return "true or false"
    if base is float:
        least = f"at least {bounds['ge']}" if "ge" in bounds else "more than 0"
        return f"a number, {least} and at most {bounds['le']}; times are in seconds, or have a unit, such as 1500ms"
    if base is int:
        return f"a whole number from {bounds['ge']}" + (f" to {bounds['le']}" if "le" in bounds else " up")
    return "one of " + ", ".join(get_args(base))
