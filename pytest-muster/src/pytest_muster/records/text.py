"""Text from outside, made fit for where it goes."""

from typing import Any


def printable(text: str) -> str:
    """Without what would steer a terminal: control characters, and such as change the direction, are escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


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
