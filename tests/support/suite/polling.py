"""How long the suite waits for a state of the world."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from support import eventually as waiting

T = TypeVar("T")

TIMEOUT = 30.0  # seconds, as in the suite of December 2025


async def eventually(probe: Callable[[], T | Awaitable[T]], *, timeout: float = TIMEOUT, description: str = "") -> T:
    """The answer of `probe` when it is true; raises the last AssertionError after `timeout` seconds."""
    return await waiting.eventually(probe, timeout=timeout, description=description)
