"""Why JSON could not be decoded, in words for whoever sent it."""


def json_fault(error: Exception) -> str:
    """The message of an error of the decoder; that of Python about its own recursion would help nobody."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
