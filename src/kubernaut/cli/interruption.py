"""Waiting for a person or a pipe inside a command, whose event loop cannot take Ctrl-C meanwhile."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def interruptible() -> Iterator[None]:
    """While this is open, Ctrl-C raises KeyboardInterrupt and SIGTERM SystemExit, also out of a read that blocks."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
