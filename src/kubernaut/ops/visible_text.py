"""Text from outside as text: what a terminal or a browser would obey instead of showing it becomes an escape."""

import re

import msgspec

# Control characters, which move the cursor or recolour a terminal, and those that reorder or hide text.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
UNSAFE_BEYOND_ASCII = re.compile(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Those of them that JSON leaves as they are."""


def visible(text: str) -> str:
    """The text in one line, with escapes such as `\\x1b` for control characters and those that reorder or hide text."""
    return _UNSAFE.sub(_escape, text)


def visible_json(raw: bytes) -> str:
    """JSON over several lines, with the escapes that JSON itself has for what `visible` replaces."""
    text = msgspec.json.format(raw, indent=2).decode()
    return UNSAFE_BEYOND_ASCII.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}
    return short.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
