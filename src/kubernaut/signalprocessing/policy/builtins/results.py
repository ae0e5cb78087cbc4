"""What a builtin comes to: a value, or something other than one.

A fraction of OPA has 64 bits, a number of the engine 53. Where no number of the engine stands for one, a text does that
nobody else can write: `MARK` and its digits. `policy.fractions` keeps it away from everything that takes texts.
"""

import re
import secrets
from fractions import Fraction
from typing import Any

MARK = f"\0{secrets.token_hex(8)}:"
"""Before the digits of a fraction; another one in each process."""

WRITTEN_AS_FRACTIONS: set[int] = set()
"""Whole numbers that were read from texts such as `2.0` and `1e3` while one document is evaluated.

They are fractions to `sprintf` in OPA, and integers of the engine.
"""

_MARKED = re.compile(rf'"\\u0000{MARK[1:]}([^"]+)"'.encode())


class Undefined(ValueError):
    """The builtin fails; in OPA the expression is undefined then."""


class Inexact(ValueError):
    """OPA has an answer that this engine cannot represent; its rule fails, rather than get another answer."""


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Undefined("not a string")
    return value


def number(value: Any) -> int | float | Fraction:
    if isinstance(value, str) and value.startswith(MARK):
        return Fraction(value.removeprefix(MARK))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Undefined("not a number")
    return value


def unmarked(document: bytes) -> bytes:
    """JSON of the engine with every fraction as the number that it is."""
    return _MARKED.sub(rb"\1", document)


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
