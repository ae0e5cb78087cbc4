"""An event loop whose time passes only when a test says so."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class FakeClock(asyncio.SelectorEventLoop):
    """A loop whose time passes only when told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    def settle(self) -> None:
        for _ in range(5):
            self.run_until_complete(asyncio.sleep(0))

    def at_once(self, act: Callable[[], T]) -> T:
        async def call() -> T:
            return act()

        return self.run_until_complete(call())
