"""The resident memory of DataStorage while it takes a million events, in batches of 100 by 16 clients.

The value is what it has more at the end than after the first tenth; the baseline is what it has then. A tenth fills the
caches but not the newest hashes of 100,000 correlations, which take some 20 MiB. The rates of the tenths show whether
the service becomes slower with what it has seen. EVENTS in the environment is how many.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.ingest import BATCH, CLIENTS, bodies, create_database, events, folder_for_all, send, service
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EVENTS = int(os.environ.get("EVENTS", "1_000_000"))
PARTS = 10


def resident(folder: Path) -> float:
    """MiB of the service whose configuration is in the folder."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = status.with_name("cmdline").read_bytes().split(b"\0")
            if os.fsencode(folder / "datastorage.yaml") in command:
                (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
                return int(line.split()[1]) / 1024
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise RuntimeError(f"no process has its configuration in {folder}")


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    sizes, rates = [], []
    with folder_for_all() as folder:
        async with open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server:
            await create_database(server, "ledger")
            await migrate(server.url("ledger"))
            async with service(server, "ledger", folder) as url:
                for part in range(PARTS):
                    batches = bodies(events(EVENTS // PARTS, seed=part))
                    started = time.perf_counter()
                    await send(url, batches, CLIENTS)
                    rates.append(len(batches) * BATCH / (time.perf_counter() - started))
                    sizes.append(resident(folder))
    print(
        f"{machine()}; {EVENTS} events; MiB after each tenth {', '.join(f'{size:.0f}' for size in sizes)};"
        f" events/s {', '.join(f'{rate:.0f}' for rate in rates)}",
        file=sys.stderr,
    )
    print(f"ingest-memory {sizes[-1] - sizes[0]:.0f} MiB ratio={sizes[-1] / sizes[0]:.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
