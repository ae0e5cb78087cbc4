"""One form for every JSON value, the same before and after PostgreSQL has stored it as jsonb.

jsonb keeps values, not spellings: it reorders keys, drops all but the last of equal keys, writes `1e2` as `100` and
`-0` as `0`. Hashing what the client sent would therefore call honest data tampered. So both sides of the store bring a
value into this form first: UTF-8 without blanks, keys sorted by code point, a number spelled by its exact decimal
value (a whole number as digits, anything else as shortest mantissa and exponent), strings escaped only where JSON
demands it. What jsonb or a reader cannot hold is rejected here, before it fails later: NUL characters, and numbers that
no double comes near. Digits beyond the precision of a double are kept.
"""

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal

import msgspec

from kubernaut.ops.json_faults import json_fault

MAX_DEPTH = 10
"""Containers inside containers; a flat object has depth 1."""

MAX_BYTES = 256 * 1024
"""Bytes of one event's data as sent."""

MAX_DIGITS = 400
"""Decimal places that a number may span in front of or behind the point; more than any double needs."""

MAX_DOUBLE_DIGITS = 309
"""Digits of the greatest double; an integer with fewer is one."""

NOT_TEXT = "a text contains the character NUL, half of a surrogate pair, or bytes that are not UTF-8"

_BEYOND_DOUBLE = "a number is beyond the range of a double"
_TOO_MANY_DIGITS = f"a number spans more than {MAX_DIGITS} digits"
_DEEP = f"event_data is nested deeper than {MAX_DEPTH}"
_DIGITS = frozenset(b"0123456789")
_LONG_DIGITS = re.compile(rb"\d{%d}" % (MAX_DIGITS + 1))
_DOUBLE_DIGITS = re.compile(rb"\d{%d}" % MAX_DOUBLE_DIGITS)


Json = bytes | str | msgspec.Raw


class NotCanonical(ValueError):
    """A value that has no canonical form; says why."""


_EXACT = Context(prec=2 * MAX_DIGITS + 1)


def _number(text: str) -> int | Decimal:
    value = Decimal(text)
    if not value:
        return 0
    exponent = value.as_tuple().exponent
    # A literal such as 1e999999999 is ten bytes and would take all memory as digits.
    if not isinstance(exponent, int) or value.adjusted() >= MAX_DIGITS or exponent < -MAX_DIGITS:
        raise NotCanonical(_TOO_MANY_DIGITS)
    shortest = value.normalize(_EXACT)
    return int(shortest) if shortest == shortest.to_integral_value(context=_EXACT) else shortest


def _double(text: str) -> int | Decimal:
    value = _number(text)
    double = float(text)
    if math.isinf(double) or (value and not double):
        raise NotCanonical(_BEYOND_DOUBLE)
    return value


_Decode = Callable[[Json], object]
decode: _Decode = msgspec.json.Decoder(float_hook=_number).decode
"""The value of JSON, any limits aside. Raises ValueError or RecursionError."""

_decode_doubles: _Decode = msgspec.json.Decoder(float_hook=_double).decode
encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
"""The canonical form of a value that was decoded."""


def data(raw: Json) -> bytes:
    """The canonical form of an event's data, which is a JSON object. Raises NotCanonical."""
    return _form(raw, decode)[1]


def admitted(raw: Json) -> bytes:
    """The canonical form of data that a client sent, within our limits. Raises NotCanonical."""
    size = memoryview(raw).nbytes if not isinstance(raw, str) else len(raw)
    if size > MAX_BYTES:
        raise NotCanonical(f"event_data has {size} bytes; {MAX_BYTES} are allowed")
    value, form = _form(raw, _decode_doubles)
    if not _DIGITS.isdisjoint(form[MAX_DOUBLE_DIGITS::MAX_DOUBLE_DIGITS]) and _DOUBLE_DIGITS.search(form):
        _reject_beyond_double(form)
    # Two cheap looks at the bytes spare the recursion for nearly all data.
    if b"\\u0000" in form or form.count(b"{") + form.count(b"[") > MAX_DEPTH:
        _check(value, 1)
    return form


def _form(raw: Json, decode: _Decode) -> tuple[dict[str, object], bytes]:
    try:
        value = decode(raw)
        if not isinstance(value, dict):
            raise NotCanonical("event_data must be a JSON object")
        form = encode(value)
    except NotCanonical:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if isinstance(error.__cause__, NotCanonical):
            raise error.__cause__ from None
        raise NotCanonical(f"event_data is not JSON that can be kept: {json_fault(error)}") from error
    # A run of that many digits covers one of these places; looking there first spares the search for most data.
    if not _DIGITS.isdisjoint(form[MAX_DIGITS::MAX_DIGITS]) and _LONG_DIGITS.search(form):
        _reject_long_integers(form)
    return value, form


_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+')


def _reject_long_integers(raw: bytes) -> None:
    for match in _STRING_OR_NUMBER.finditer(raw):
        token = match[0].lstrip(b"-")
        if token.isdigit() and len(token) > MAX_DIGITS:
            raise NotCanonical(_TOO_MANY_DIGITS)


def _reject_beyond_double(raw: bytes) -> None:
    for match in _STRING_OR_NUMBER.finditer(raw):
        if len(match[0]) >= MAX_DOUBLE_DIGITS and match[0].lstrip(b"-").isdigit():
            try:
                float(int(match[0]))
            except OverflowError:
                raise NotCanonical(_BEYOND_DOUBLE) from None


def _check(value: object, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise NotCanonical(NOT_TEXT)
    elif isinstance(value, dict):
        if depth > MAX_DEPTH:
            raise NotCanonical(_DEEP)
        for key, inner in value.items():
            _check(key, depth)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        if depth > MAX_DEPTH:
            raise NotCanonical(_DEEP)
        for inner in value:
            _check(inner, depth + 1)
