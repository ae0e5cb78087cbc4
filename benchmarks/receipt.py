"""One event's proof from a ledger of millions of events, over HTTP; against a look at its row in PostgreSQL.

Each request asks for another event, drawn from the whole ledger, so that no two proofs share their lowest tile.
"""

import asyncio
import random
import statistics
import sys
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx2

from benchmarks.__main__ import machine
from benchmarks.grown_ledger import DATABASE, EVENTS, open_grown
from benchmarks.ingest import service
from kubernaut.api.ledger import notes, proofs, receipts
from kubernaut.datastorage.queries import QUERIES
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

RECEIPTS = 500
WARM_UP = 20


def p95(took: list[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(took, n=20)[18] * 1000


async def some_ids(url: str, count: int) -> list[UUID]:
    """Ids of events all over the ledger."""
    connection = await asyncpg.connect(url)
    sequences = random.Random(1).sample(range(1, EVENTS + 1), count)
    found = await connection.fetch(
        "SELECT event_id FROM audit_ledger WHERE shard = 0 AND sequence = ANY($1)", sequences
    )
    await connection.close()
    return [row["event_id"] for row in found]


async def time_rows(url: str, ids: list[UUID]) -> list[float]:
    """Seconds for the row of each event, straight from PostgreSQL."""
    connection = await asyncpg.connect(url)
    row_of = await connection.prepare(QUERIES["event_with_row"].sql)
    took = []
    for event_id in ids:
        started = time.perf_counter()
        await row_of.fetchrow(event_id)
        took.append(time.perf_counter() - started)
    await connection.close()
    return took


async def time_receipts(client: httpx2.AsyncClient, ids: list[UUID]) -> tuple[list[float], list[bytes]]:
    """Seconds for the receipt of each event, and the receipts."""
    took, documents = [], []
    for event_id in ids:
        started = time.perf_counter()
        answer = await client.get(f"/api/v1/audit/events/{event_id}/receipt")
        took.append(time.perf_counter() - started)
        documents.append(answer.raise_for_status().content)
    return took, documents


def verify(documents: list[bytes], key_file: Path) -> int:
    """The size of the tree that the receipts prove their events to be in. Raises InvalidReceipt."""
    (signer,) = notes.parse_signers(key_file.read_text())
    size = 0
    for document in documents:
        receipt = receipts.parse(document)
        key = signer.named(proofs.parse(receipt.proof).checkpoint.origin).verifier
        size = receipts.verify(receipt, [key]).checkpoint.head.size
    return size


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    async with open_grown() as grown:
        ids = await some_ids(grown.server.url(DATABASE), RECEIPTS + 2 * WARM_UP)
        async with (
            service(grown.server, DATABASE, grown.folder) as url,
            httpx2.AsyncClient(base_url=url, timeout=30) as client,
        ):
            await time_receipts(client, ids[:WARM_UP])
            took, documents = await time_receipts(client, ids[2 * WARM_UP :])
        await time_rows(grown.server.url(DATABASE), ids[WARM_UP : 2 * WARM_UP])
        bare = await time_rows(grown.server.url(DATABASE), ids[2 * WARM_UP :])
    size = verify(documents, grown.folder / "ledger.key")
    print(
        f"{machine()}; receipts of a tree of {size}; p50 {statistics.median(took) * 1000:.1f} ms;"
        f" the row alone p95 {p95(bare):.2f} ms",
        file=sys.stderr,
    )
    print(f"receipt {p95(took):.1f} ms ratio={p95(took) / p95(bare):.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
