"""Reads JSON as real senders write it: what is missing, null or of another type is unknown, and no reason to reject.

A character that PostgreSQL cannot store becomes U+FFFD.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from kubernaut.gateway.alertmanager import Adjustment, AdjustmentReason

T = TypeVar("T")

FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time that an alert may name; an earlier one is the fault of a clock."""

NULL = msgspec.Raw(b"null")

MAX_REPAIRED = 2**20
"""Bytes of a body that is repaired. It takes a second or two; what breaks JSON are templates, which write little."""

_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
# Any escape is consumed whole, so that an escaped backslash in front of `u0000` stays text.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2}|u0000)|.)",
    re.DOTALL,
)
# A string without an end reaches to the end of the text: were it no match, each quote in it would be tried again.
_STRING_OR_FAULT = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|-?\b(?:NaN|Infinity)\b|,(?=\s*[\]}])', re.DOTALL)
_BACKSLASH = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|())')
"""Its group is there where the backslash begins no escape, as in a path or a regular expression."""
_GO_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)? ([+-]\d{4}) ")
"""As Go's time.Time.String writes it, which a template calls that prints a time."""
_UNIX_TIME = re.compile(r"\d{9,20}(?:\.\d+)?")
"""Fewer digits may be a date of ISO 8601."""
_MAX_SECONDS = 1e11
"""In the year 5138."""
_CONTROL = re.compile(rb"[\x00-\x1f]")

_decode_texts = msgspec.json.Decoder(dict[str, str] | None).decode
_decode_scalars = msgspec.json.Decoder(dict[str, str | bool | int | float | None]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_decode_any = msgspec.json.Decoder(float_hook=str).decode


def decode(body: bytes, decoder: Callable[[bytes], T]) -> T:
    """What `decoder` makes of a request's body. Raises msgspec.ValidationError, msgspec.DecodeError, RecursionError."""
    body = _storable(body.removeprefix(BOM_UTF8))
    try:
        return decoder(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        repaired = _repaired(body)
        if repaired == body:
            raise
        return decoder(repaired)


def readable(body: bytes) -> bytes:
    """The body in which no decoder finds what `decode` repairs; as it is, where that is no JSON either.

    For who tries several decoders, because a repair takes time.
    """
    body = _storable(body.removeprefix(BOM_UTF8))
    try:
        _decode_raw(body)
    except msgspec.DecodeError:
        return _repaired(body)
    except RecursionError:
        pass
    return body


def _storable(body: bytes) -> bytes:
    """The body with U+FFFD in place of NUL, halves of surrogate pairs, and bytes that are not UTF-8."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            body = body.decode(errors="replace").encode()
    if _UNSTORABLE.search(body):
        body = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)
    return body


def _repaired(body: bytes) -> bytes:
    """The body as JSON where a sender's template wrote text into strings as it is, NaN, or a comma too many.

    NUL and RS around it, as of a C string or a JSON sequence, are removed. A body of more than MAX_REPAIRED stays.
    """
    if len(body) > MAX_REPAIRED:
        return body

    def repaired(token: re.Match[bytes]) -> bytes:
        if not token[0].startswith(b'"'):
            return b"" if token[0] == b"," else b"null"
        text = _BACKSLASH.sub(lambda escape: rb"\\" if escape[1] is not None else escape[0], token[0])
        return _CONTROL.sub(lambda control: rb"\u%04x" % (control[0][0] or 0xFFFD), text)

    return _STRING_OR_FAULT.sub(repaired, body.strip(b"\0\x1e"))


class InvalidField(Exception):
    """What is wrong with a field that cannot be done without."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field} {fault}")


def texts(field: str, raw: msgspec.Raw) -> dict[str, str]:
    """A map of texts; anything else in it is its JSON, and what is null is left out. Raises InvalidField for no map."""
    with suppress(msgspec.MsgspecError):
        return _decode_texts(raw) or {}
    with suppress(msgspec.MsgspecError):
        return {name: _text_of(given) for name, given in _decode_scalars(raw).items() if given is not None}
    try:
        members = _decode_members(raw)
    except msgspec.MsgspecError:
        raise InvalidField(field, "is not a map of texts") from None
    return {name: text(member) or bytes(member).decode() for name, member in members.items() if member != NULL}


def _text_of(scalar: str | float) -> str:
    """A scalar as JSON writes it."""
    return scalar if isinstance(scalar, str) else msgspec.json.encode(scalar).decode()


def texts_or_none(raw: msgspec.Raw) -> dict[str, str]:
    try:
        return texts("", raw)
    except InvalidField:
        return {}


def text(raw: msgspec.Raw) -> str:
    """A text; empty where there is something else."""
    try:
        return _decode_text(raw) or ""
    except msgspec.MsgspecError:
        return ""


def value(raw: msgspec.Raw) -> Any:
    """Any value; an empty tuple, which no JSON is, where it cannot be decoded."""
    try:
        return _decode_any(raw)
    except (msgspec.MsgspecError, RecursionError):
        return ()


def time(field: str, raw: msgspec.Raw) -> tuple[datetime | None, Adjustment | None]:
    """A time in UTC, from 1970 on; None where it is not set or no time, which the adjustment tells.

    A number counts from 1970: seconds or, by its size, parts of one.
    """
    given = value(raw)
    if given is None or given in ("", 0, "0"):
        return None, None
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None, Adjustment(field=field, reason=AdjustmentReason.INVALID_TIME)
    try:
        moment = _moment(str(given).strip())
        if moment.year <= 1:
            return None, None
        # A time without a zone is taken as UTC, which most senders mean.
        has_zone = moment.tzinfo is not None
        moment = moment.astimezone(UTC) if has_zone else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None, Adjustment(field=field, reason=AdjustmentReason.INVALID_TIME)
    if moment < FIRST_TIME:
        return FIRST_TIME, Adjustment(field=field, reason=AdjustmentReason.CLAMPED)
    return moment, None if has_zone else Adjustment(field=field, reason=AdjustmentReason.NO_ZONE)


def _moment(text: str) -> datetime:
    """A time as RFC 3339, ISO 8601, Unix or Go writes it. Raises ValueError and OverflowError."""
    if _UNIX_TIME.fullmatch(text):
        number = float(text)
        while number >= _MAX_SECONDS:  # thousandths, millionths or billionths of a second
            number /= 1000
        return datetime.fromtimestamp(number, UTC)
    if (parts := _GO_TIME.match(text)) is not None:
        return datetime.fromisoformat(f"{parts[1]}T{parts[2]}{(parts[3] or '')[:7]}{parts[4]}")
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return datetime.fromisoformat(text)


def part(raw: msgspec.Raw, decoder: Callable[[msgspec.Raw], T | None]) -> T | None:
    """An object within the document; None where there is something else."""
    try:
        return decoder(raw)
    except msgspec.MsgspecError:
        return None
