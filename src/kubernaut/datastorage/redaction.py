"""Personal data out of what is exported, as the Go project does it: enough is left to tell two people apart."""

import re

import msgspec

# It begins only where a run of such characters begins: from each of them, a text of 256 kB would take a minute.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])([._%+-]*+[A-Za-z0-9])[A-Za-z0-9._%+-]*+@"
    r"([A-Za-z0-9])[A-Za-z0-9-]*+((?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})"
)
_IPV4 = re.compile(r"\b(\d{1,3})(?:\.\d{1,3}){3}\b")
_PHONE = re.compile(r"^\+?(\d{1,3})[\d ()./-]{5,}$")
_PHONE_KEY = re.compile(r"phone|mobile", re.IGNORECASE)


def redacted(data: msgspec.Raw) -> object:
    """Event data without e-mail addresses, IPv4 addresses and telephone numbers, wherever they stand."""
    return _redacted(msgspec.json.decode(data), "")


def text(value: str) -> str:
    """A text without e-mail addresses and IPv4 addresses."""
    return _IPV4.sub(r"\1.***.***.***", _EMAIL.sub(r"\1***@\2***\3", value))


def _redacted(value: object, key: str) -> object:
    if isinstance(value, str):
        phone = _PHONE.match(value) if _PHONE_KEY.search(key) else None
        return f"+{phone[1]}***" if phone else text(value)
    if isinstance(value, dict):
        return {name: _redacted(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, key) for inner in value]
    return value
