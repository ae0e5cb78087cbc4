"""What goes wrong when JSON from elsewhere is decoded, and in words for whoever sent it."""

import msgspec

JSON_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that decoding raises on bytes that somebody else wrote: also for text that is no UTF-8, and for deep nesting."""


def json_fault(error: Exception) -> str:
    """The message of an error of the decoder; that of Python about its own recursion would help nobody."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
