"""Times and durations as Go parses them."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from kubernaut.signalprocessing.policy.builtins.results import Inexact, Undefined, text

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]+))?(?:(Z)|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
    "w": 7 * 24 * 3600 * 10**9,
    "y": 365 * 24 * 3600 * 10**9,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_MAX_INT = 2**63 - 1


def parse_rfc3339_ns(value: Any) -> int:
    match = _RFC3339.fullmatch(text(value))
    if match is None:
        raise Undefined("not RFC 3339")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        if not year:
            raise Inexact("the year 0 is not available")
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except Inexact:
        raise
    except ValueError as error:
        raise Undefined("not a time") from error
    fraction = (match[7] or "")[:9].ljust(9, "0")
    span = moment - _EPOCH
    if match[9]:
        if int(match[10]) > 24 or int(match[11]) >= 60:
            raise Undefined("invalid offset")
        offset = timedelta(hours=int(match[10]), minutes=int(match[11]))
        span = span - offset if match[9] == "+" else span + offset
    result = (span.days * 86_400 + span.seconds) * 10**9 + int(fraction)
    if not -(2**63) <= result <= _MAX_INT:
        raise Undefined("time outside of valid range")
    return result


def parse_duration_ns(value: Any) -> int:
    whole = text(value)
    sign = -1 if whole.startswith("-") else 1
    rest = whole[1:] if whole[:1] in ("-", "+") else whole
    if rest == "0":
        return 0
    if not rest:
        raise Undefined("invalid duration")
    total = place = 0
    while place < len(rest):
        match = _PART.match(rest, place)
        if match is None or not (match[1] or match[2]) or match[3] not in _UNITS:
            raise Undefined("invalid duration")
        unit = _UNITS[match[3]]
        total += int(match[1] or 0) * unit
        if match[2]:
            total += int(Fraction(f"0.{match[2]}") * unit)
        place = match.end()
    if total > _MAX_INT:
        raise Undefined("invalid duration")
    return sign * total
