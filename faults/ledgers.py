"""A ledger that has a bit of everything, made by the product and the same for every run but for its times of signing.

Three shards, full and partial tiles, months and years, every column filled in some rows and null in others, parents,
conflicts, holds that are in force and released ones, retention and erasures, checkpoints and cosignatures.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import asyncpg
from prometheus_client import CollectorRegistry

from kubernaut.api.ledger.notes import parse_signers
from kubernaut.api.lifecycle import EraseEvents
from kubernaut.datastorage import intake
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.checkpointer import Checkpointer, open_checkpointer
from kubernaut.datastorage.config import DatabaseConfig, DataStorageConfig, LedgerConfig, WitnessConfig
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.side_tables import PublicKeys
from kubernaut.datastorage.store import Store, open_store
from kubernaut.embedded.secret_files import ensure_signing_key
from support.eventually import eventually
from support.ledger_events import NOW, a_body, a_wire_event
from support.lifecycle import Lifecycle
from support.witness import TestWitness, open_witness

ORIGIN = "faults.local/ledger"
SHARDS = 3
EVENTS = 2400
BATCH = 200
CORRELATIONS = 40
COSIGN_TIMEOUT = 60.0  # seconds


async def make_ledger(url: str, directory: Path) -> PublicKeys:
    """Fill the migrated database of the URL; `directory` gets the key that signs. Returns what verifies it."""
    key_file = ensure_signing_key(directory / "ledger.key", ORIGIN)
    witness = TestWitness()
    (signer,) = parse_signers(key_file.read_text())
    witness.logs = [signer.named(f"{ORIGIN}/{shard}").verifier for shard in range(SHARDS)]
    rng = random.Random(0)
    async with open_witness(witness):
        config = DataStorageConfig(
            database=DatabaseConfig.from_url(url),
            ledger=LedgerConfig(
                shards=SHARDS,
                origin=ORIGIN,
                key_file=key_file,
                checkpoint_interval=0.1,
                witnesses=(WitnessConfig(url=witness.url, vkey=witness.verifier.vkey),),
            ),
        )
        async with _opened(config) as (store, checkpointer):
            for first in range(0, EVENTS, BATCH):
                results = await store.append(_batch(rng, first))
                assert not any(results), results  # noqa: S101
                if first % (4 * BATCH) == 0:
                    await _sign(checkpointer)
            await _attempt_conflicts(store)
            await _live(url)
            await _sign(checkpointer)
            await _cosigned(url)
            return checkpointer.public_keys


@asynccontextmanager
async def _opened(config: DataStorageConfig) -> AsyncIterator[tuple[Store, Checkpointer]]:
    metrics = Metrics(CollectorRegistry())
    async with (
        open_store(config, metrics) as store,
        open_checkpointer(config.ledger, lambda: store.settings, store.read.ledger, metrics) as checkpointer,
    ):
        yield store, checkpointer


def _batch(rng: random.Random, first: int) -> list[Entry]:
    events = [_an_event(rng, number) for number in range(first, first + BATCH)]
    return intake.admit(a_body(*events), NOW, BATCH)


def _an_event(rng: random.Random, number: int, **fields: Any) -> dict[str, Any]:
    """Event number `number`; about half of its optional fields are there."""
    optional = {
        "actor_type": "user",
        "actor_id": f"user-{number % 7}",
        "actor_ip": rng.choice(["10.0.0.1", "192.168.7.9", "2001:db8::7"]),
        "resource_type": "Deployment",
        "resource_id": f"shop/api-{number % 5}",
        "resource_name": f"api-{number % 5}",
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "namespace": "shop",
        "cluster_id": "east",
        "severity": rng.choice(["critical", "high", "low"]),
        "duration_ms": rng.randrange(10_000),
        "error_code": "E42",
        "error_message": "it failed, and this is why",
        "is_sensitive": True,
        "parent_event_id": str(_id(number - 1)) if number % BATCH else None,
    }
    chosen = {name: value for name, value in optional.items() if rng.random() < 0.5}
    data = {"event_type": "signalprocessing.phase.transition", "number": number, "list": [1, "a", None], "n": 1.5}
    required = {
        "event_id": str(_id(number)),
        "event_timestamp": _time(rng, number).isoformat().replace("+00:00", "Z"),
        "event_outcome": rng.choice(["success", "success", "failure"]),
        "correlation_id": f"rr-{number % CORRELATIONS}",
        "event_data": data,
    }
    if number % 10 == 0:
        required["retention_days"] = 1
    return a_wire_event(**(required | chosen | fields))


def _id(number: int) -> Any:
    return uuid5(NAMESPACE_OID, f"ledger/{number}")


def _time(rng: random.Random, number: int) -> datetime:
    start = rng.choice(
        [
            datetime(2018, 5, 1, tzinfo=UTC),
            datetime(2026, 9, 3, tzinfo=UTC),
            datetime(2026, 10, 3, tzinfo=UTC),
            datetime(2026, 11, 3, tzinfo=UTC),
        ]
    )
    return start + timedelta(seconds=number, microseconds=number)


async def _attempt_conflicts(store: Store) -> None:
    """Other content under ids that are taken."""
    for number in (3, 4, 5, 17, 18):
        event = _an_event(random.Random(number), number, event_data={"number": "another"}, parent_event_id=None)
        (result,) = await store.append(intake.admit(a_body(event), NOW, 1))
        assert result is not None  # noqa: S101


async def _live(url: str) -> None:
    """Holds, a release, erasures, retention."""
    lifecycle = Lifecycle(url, now=NOW + timedelta(days=4))
    await lifecycle.holds.place("rr-1", "case 7", "auditor")
    await lifecycle.holds.place("rr-2", "case 8", "auditor")
    await lifecycle.holds.place("rr-11", "case 9", "another auditor")
    await lifecycle.holds.release("rr-2", "case 8 is closed", "another auditor")
    await lifecycle.erasure.erase(EraseEvents(order="GDPR-1", reason="asked for", correlation_id="rr-3"), "officer")
    erased = EraseEvents(order="GDPR-2", reason="asked for", event_ids=[_id(number) for number in (17, 44, 45)])
    await lifecycle.erasure.erase(erased, "officer")
    assert await lifecycle.retention.apply()  # noqa: S101


async def _sign(checkpointer: Checkpointer) -> None:
    for shard in range(SHARDS):
        await checkpointer.sign(shard)


async def _cosigned(url: str) -> None:
    """Return when the newest checkpoint of each ledger is cosigned."""
    connection = await asyncpg.connect(url)

    async def are_cosigned() -> bool:
        newest = "SELECT shard, max(size) AS size FROM audit_checkpoints GROUP BY shard"
        lines = f"SELECT count(*) FROM audit_cosignatures JOIN ({newest}) AS newest USING (shard, size)"
        count: int = await connection.fetchval(lines)
        return count == SHARDS

    try:
        await eventually(are_cosigned, timeout=COSIGN_TIMEOUT, interval=0.05, description="cosigned")
    finally:
        await connection.close()
