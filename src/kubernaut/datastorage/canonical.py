"""One form for every JSON value, the same before and after PostgreSQL has stored it as jsonb.

jsonb keeps values, not spellings: it reorders keys, drops all but the last of equal keys, writes `1e2` as `100` and
`-0` as `0`. Hashing what the client sent would therefore call honest data tampered. So both sides of the store bring a
value into this form first: UTF-8 without blanks, keys sorted by code point, a number spelled by its exact decimal
value (a whole number as digits, anything else as shortest mantissa and exponent), strings escaped only where JSON
demands it. What jsonb cannot hold is rejected here, before it fails later: NUL characters and numbers without bounds.
"""

import re
from decimal import Context, Decimal

import msgspec

MAX_DEPTH = 10
"""Containers inside containers; a flat object has depth 1."""

MAX_BYTES = 256 * 1024
"""Bytes of one event's data as sent."""

MAX_DIGITS = 400
"""Decimal places that a number may span in front of or behind the point; more than any double needs."""

_TOO_MANY_DIGITS = f"a number spans more than {MAX_DIGITS} digits"
_DEEP = f"event_data is nested deeper than {MAX_DEPTH}"
_DIGITS = frozenset(b"0123456789")
_LONG_DIGITS = re.compile(rb"\d{%d}" % (MAX_DIGITS + 1))


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


_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def data(raw: Json) -> bytes:
    """The canonical form of an event's data, which is a JSON object. Raises NotCanonical."""
    return _form(raw)[1]


def admitted(raw: Json) -> bytes:
    """The canonical form of data that a client sent, within our limits. Raises NotCanonical."""
    size = memoryview(raw).nbytes if not isinstance(raw, str) else len(raw)
    if size > MAX_BYTES:
        raise NotCanonical(f"event_data has {size} bytes; {MAX_BYTES} are allowed")
    value, form = _form(raw)
    # Two cheap looks at the bytes spare the recursion for nearly all data.
    if b"\\u0000" in form or form.count(b"{") + form.count(b"[") > MAX_DEPTH:
        _check(value, 1)
    return form


def _form(raw: Json) -> tuple[dict[str, object], bytes]:
    try:
        value = _decode(raw)
        if not isinstance(value, dict):
            raise NotCanonical("event_data must be a JSON object")
        form = _encode(value)
    except NotCanonical:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if isinstance(error.__cause__, NotCanonical):
            raise error.__cause__ from None
        raise NotCanonical(f"event_data is not JSON that can be kept: {error}") from error
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


def _check(value: object, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise NotCanonical("a text contains the character NUL")
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
