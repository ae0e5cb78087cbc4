"""PostgreSQL and Valkey of a test's own, which it stops, kills and starts again on the same port and data."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, Self

from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.embedded.valkey import ValkeyConfig, open_valkey


class Restartable:
    """A server; `async with` starts it, and stops it at the end if it still runs."""

    def __init__(self, opening: Callable[[int], AbstractAsyncContextManager[Any]]) -> None:
        self._opening = opening
        self._exits = AsyncExitStack()
        self.server: Any = None

    async def start(self) -> None:
        port = self.server.port if self.server else 0
        self.server = await self._exits.enter_async_context(self._opening(port))
        assert port in (0, self.server.port), "another process has taken the port"

    async def stop(self) -> None:
        await self._exits.aclose()

    async def kill(self) -> None:
        os.kill(self.server.process.pid, signal.SIGKILL)
        await self._exits.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()


def restartable_postgres(directory: Path) -> Restartable:
    return Restartable(lambda port: open_postgres(PostgresConfig(directory=directory, env=os.environ, port=port)))


def restartable_valkey(directory: Path) -> Restartable:
    return Restartable(lambda port: open_valkey(ValkeyConfig(directory=directory, env=os.environ, port=port)))
