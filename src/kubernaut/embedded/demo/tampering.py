"""The third act of the demo: an audit event is edited in PostgreSQL, past the service that keeps it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg

EVENT_TYPE = "signalprocessing.classification.decision"
"""Events of this type have a priority."""

_AS_A_DBA = "SET session_replication_role = replica"  # no trigger fires
_READ = "SELECT event_data FROM audit_events WHERE event_id = $1"
_WRITE = "UPDATE audit_events SET event_data = $2 WHERE event_id = $1"


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """One edited event: its priority before and after."""

    event_id: UUID
    before: str
    after: str


@asynccontextmanager
async def edited_priority(postgres_url: str, event_id: UUID, after: str) -> AsyncIterator[Tampering]:
    """While this is open, PostgreSQL holds another priority for that event; then the old row is put back."""
    connection = await asyncpg.connect(postgres_url, timeout=10)
    try:
        await connection.execute(_AS_A_DBA)
        original = await connection.fetchval(_READ, event_id)
        data = json.loads(original)
        await connection.execute(_WRITE, event_id, json.dumps(data | {"priority": after}))
        try:
            yield Tampering(event_id=event_id, before=data["priority"], after=after)
        finally:
            await connection.execute(_WRITE, event_id, original)
    finally:
        await connection.close(timeout=5)
