"""Text from outside, made fit for where it goes."""

import re
from typing import Any

_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, such as change the direction of text, and halves of surrogates."""


def printable(text: str) -> str:
    """Without what would steer a terminal: control characters, and such as change the direction, are escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def visible(text: str) -> str:
    """Text for a page: what cannot be seen, or makes text look like another one, is an escape; tabs and lines stay."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def encodable(value: Any) -> Any:
    """Plain data whose texts are all UTF-8: halves of surrogates, as in names of files, are escapes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(held) for key, held in value.items()}
    if isinstance(value, list):
        return [encodable(held) for held in value]
    if isinstance(value, tuple):
        return tuple(encodable(held) for held in value)
    return value
