"""What a builtin comes to other than a value."""

from typing import Any


class Undefined(ValueError):
    """The builtin fails; in OPA the expression is undefined then."""


class Inexact(ValueError):
    """OPA has an answer that this engine cannot represent; its rule fails, rather than get another answer."""


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Undefined("not a string")
    return value


def number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Undefined("not a number")
    return value


def integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Undefined("not an integer")
    return value


def texts(value: Any) -> list[str]:
    """The strings of an array, or of a set in its order."""
    if isinstance(value, (set, frozenset)):
        return sorted(map(text, value))
    if not isinstance(value, list):
        raise Undefined("not a collection")
    return [text(item) for item in value]
