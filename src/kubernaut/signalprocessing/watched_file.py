"""Reading a file that somebody may replace by anything at any time."""

import os
import stat
from pathlib import Path


class InvalidFile(ValueError):
    """The file is no text within the limit, or cannot be read."""


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a regular file in UTF-8; never reads more than the limit and never waits. Raises InvalidFile."""
    try:
        # A named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidFile("cannot be read: it is not a regular file")
            if found.st_size > max_bytes:
                raise InvalidFile(f"is larger than {max_bytes} bytes")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
    except InvalidFile:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidFile(f"cannot be read: {reason}") from error
    if len(content) > max_bytes:
        raise InvalidFile(f"is larger than {max_bytes} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidFile(f"cannot be read: it is not UTF-8: {error.reason} at byte {error.start}") from error
