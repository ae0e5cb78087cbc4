"""Semantic versions, as OPA compares them."""

import re
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import Undefined, text

_VERSION = re.compile(
    r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_MAX_INT = 2**63 - 1
_Version = tuple[tuple[int, ...], list[str]]


def is_valid(value: Any) -> bool:
    try:
        return isinstance(value, str) and _parsed(value) is not None
    except Undefined:
        return False


def compare(left: Any, right: Any) -> int:
    (a, a_pre), (b, b_pre) = _parsed(text(left)), _parsed(text(right))
    if a != b:
        return 1 if a > b else -1
    if not a_pre or not b_pre:
        return bool(b_pre) - bool(a_pre)
    for one, other in zip(a_pre, b_pre, strict=False):
        if one != other:
            return _compare_identifiers(one, other)
    return (len(a_pre) > len(b_pre)) - (len(a_pre) < len(b_pre))


def _parsed(value: str) -> _Version:
    match = _VERSION.fullmatch(value)
    if match is None:
        raise Undefined("not a version")
    if any(int(part) > _MAX_INT for part in match.groups()[:3]):
        raise Undefined("not a version")
    identifiers = match[4].split(".") if match[4] else []
    if any(len(part) > 1 and part.isdigit() and part[0] == "0" for part in identifiers):
        raise Undefined("not a version")
    return tuple(int(part) for part in match.groups()[:3]), identifiers


def _compare_identifiers(one: str, other: str) -> int:
    if one.isdigit() and other.isdigit():
        return (int(one) > int(other)) - (int(one) < int(other))
    if one.isdigit() != other.isdigit():
        return -1 if one.isdigit() else 1
    return (one > other) - (one < other)
