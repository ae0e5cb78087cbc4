"""Texts that a policy returns, within limits: they become part of a status, an audit event, a log line."""

MAX_CHARS = 256
ELLIPSIS = "…"
_REPLACEMENT = "\ufffd"

_MAX_SHOWN_CHARS = 80


def bounded(text: str) -> str:
    """The text with at most 256 characters, an ellipsis at the end where it was cut.

    NUL is replaced, because no database column can hold it.
    """
    short = text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + ELLIPSIS
    return short.replace("\0", _REPLACEMENT)


def shown(value: object) -> str:
    """An invalid value for a message: what it is, never all of it."""
    if isinstance(value, str):
        return f'"{value[:_MAX_SHOWN_CHARS]}{ELLIPSIS}"' if len(value) > _MAX_SHOWN_CHARS else f'"{value}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return f"{value}"[:_MAX_SHOWN_CHARS]
    return "an object" if isinstance(value, dict) else "an array"
