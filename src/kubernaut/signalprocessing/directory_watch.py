"""Watching a directory of mounted configuration."""

from collections.abc import AsyncIterator
from pathlib import Path

import watchfiles

DEBOUNCE = 1600  # milliseconds
STEP = 200  # milliseconds


async def watch_directory(directory: Path, *, interval: float) -> AsyncIterator[None]:
    """Yields once the directory has been quiet for a moment after a change, and at least every `interval` seconds.

    Raises OSError when it cannot be watched: there is no such directory, or the host has no watches left.
    """
    # The directory, never a file: a mounted ConfigMap changes by swapping the link `..data`.
    try:
        async for _ in watchfiles.awatch(
            directory,
            watch_filter=None,
            debounce=DEBOUNCE,
            step=STEP,
            rust_timeout=round(interval * 1000),
            yield_on_timeout=True,
            recursive=False,
        ):
            yield None
    except RuntimeError as error:  # of the library: whatever its cause, it must not end the process
        raise OSError(f"{directory} cannot be watched: {error}") from error
