"""Waiting on a state of the world instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], T | Awaitable[T]], *, timeout: float = 10.0, interval: float = 0.01, description: str = ""
) -> T:
    """Call `probe` until its answer is true, and return that answer.

    An `AssertionError` raised by the probe counts as "not yet"; after `timeout` seconds the last one is raised.
    """
    deadline = time.monotonic() + timeout
    last: AssertionError | None = None
    while True:
        try:
            answer = probe()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
            last = None
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise last or AssertionError(f"not true after {timeout:g} s: {description or probe}")
        await asyncio.sleep(interval)
