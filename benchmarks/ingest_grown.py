"""`ingest` on a ledger of millions of events, against the same on an empty one in the same run.

Both ledgers are on one server and are written to in turns by services of their own, so that what else the machine does
meets both. Ids are random, so that each lands somewhere else in the index of ids.
"""

import asyncio
import random
import statistics
import sys

from benchmarks.__main__ import machine
from benchmarks.grown_ledger import DATABASE, EVENTS, open_grown, require_sound
from benchmarks.ingest import create_database, measure_rate, service
from kubernaut.datastorage.migrate import migrate
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EMPTY = "empty"
ROUNDS = 3
ROUND_EVENTS = 40_000


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    rates: dict[str, list[float]] = {EMPTY: [], DATABASE: []}
    async with open_grown() as grown:
        for number in range(ROUNDS):
            empty = f"{EMPTY}_{random.randrange(10**9)}"
            await create_database(grown.server, empty)
            await migrate(grown.server.url(empty))
            for database in (empty, DATABASE):
                folder = grown.folder if database == DATABASE else grown.folder / EMPTY
                folder.mkdir(exist_ok=True)
                async with service(grown.server, database, folder) as url:
                    if database == DATABASE and number == 0:
                        await require_sound(url)
                    # A ledger that was kept has the events of runs before; these must be new.
                    rate, _ = await measure_rate(url, seed=random.randrange(10**6, 10**7), count=ROUND_EVENTS)
                    rates[EMPTY if database == empty else DATABASE].append(rate)
    empty_rate, grown_rate = statistics.mean(rates[EMPTY]), statistics.mean(rates[DATABASE])
    each = ", ".join(f"{before:.0f} → {after:.0f}" for before, after in zip(rates[EMPTY], rates[DATABASE], strict=True))
    print(f"{machine()}; {EVENTS} events; events/s on an empty ledger → on the grown one: {each}", file=sys.stderr)
    print(f"ingest-grown {grown_rate:.0f} events/s ratio={grown_rate / empty_rate:.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
