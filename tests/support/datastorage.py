"""Stores and services of DataStorage for tests; events for them stand in `ledger_events`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg
import yaml

from kubernaut.datastorage.config import DatabaseConfig, DataStorageConfig, LedgerConfig, ServerConfig
from kubernaut.datastorage.store import Store
from support.eventually import eventually

BATCH = "/api/v1/audit/events/batch"
EVENTS = "/api/v1/audit/events"
VERIFY = "/api/v1/audit/verify-chain"
JSON = {"content-type": "application/json"}


class OpenStore(Protocol):
    """As many stores on the test's database as it wants."""

    def __call__(self, *, shards: int = 1) -> AbstractAsyncContextManager[Store]: ...


def config_for(url: str, *, shards: int = 1, ledger: LedgerConfig | None = None) -> DataStorageConfig:
    return DataStorageConfig(
        server=ServerConfig(port=0, endpoint_propagation_delay=0, shutdown_timeout=5),
        database=DatabaseConfig.from_url(url),
        ledger=ledger or LedgerConfig(shards=shards),
    )


@dataclass
class Service:
    """DataStorage as a process of its own."""

    process: asyncio.subprocess.Process
    url: str

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 20)


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.datastorage.service import run
from kubernaut.ops import settings
asyncio.run(run(settings.load(DataStorageConfig, Path(sys.argv[1]))))
"""


@asynccontextmanager
async def open_process(
    database_url: str,
    folder: Path,
    name: str = "ds",
    *,
    queue: Mapping[str, object] | None = None,
    **server: object,
) -> AsyncIterator[Service]:
    """The service on a database, perhaps with a dead-letter queue; killed at the end if it still runs."""
    database = DatabaseConfig.from_url(database_url)
    port_file = folder / f"{name}.port"
    port_file.unlink(missing_ok=True)
    config = folder / f"{name}.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "server": {"port": 0, "portFile": str(port_file), "endpointPropagationDelay": 0, **server},
                "database": {
                    "host": database.host,
                    "port": database.port,
                    "name": database.name,
                    "user": database.user,
                    "password": database.password.reveal() if database.password else None,
                    "connectInterval": "100ms",
                },
                "deadLetterQueue": dict(queue or {}),
            }
        )
    )
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROGRAM, str(config), stdout=log, stderr=log, env=os.environ
        )
    try:

        def listens() -> str:
            if process.returncode is not None:
                raise RuntimeError((folder / f"{name}.log").read_text())
            return port_file.read_text().strip() if port_file.exists() else ""

        yield Service(process, f"http://{await eventually(listens, timeout=20)}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ledger_of(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """Every row of the ledger, by shard and sequence."""
    return await connection.fetch("SELECT * FROM audit_ledger ORDER BY shard, sequence")
