"""Verification of the tables beside the ledger: what is done to each of them is a finding."""

from datetime import timedelta

import asyncpg
import pytest

from kubernaut.api.events import VerifyRequest
from kubernaut.api.ledger import notes
from kubernaut.api.ledger.checkpoints import TreeHead, sign
from kubernaut.api.lifecycle import EraseEvents
from kubernaut.datastorage.side_tables import PublicKeys
from kubernaut.datastorage.store import Store
from support.ledger_events import NOW, an_entry
from support.lifecycle import Lifecycle


@pytest.fixture
async def filled(database: str, store: Store) -> Store:
    """Holds in force and released, refused events, one of them erased, and a signed checkpoint."""
    for number in range(6):
        entry = an_entry(correlation_id=f"rr-{number}", event_data={"n": number})
        await store.append([entry])
        if number < 3:
            await store.append([an_entry(event_id=str(entry.event.event_id), correlation_id=f"rr-{number}")])
    lifecycle = Lifecycle(database, now=NOW + timedelta(days=1))
    for correlation in ("rr-0", "rr-4"):
        await lifecycle.holds.place(correlation, "a case", "auditor")
    await lifecycle.holds.release("rr-4", "closed", "auditor")
    await lifecycle.erasure.erase(EraseEvents(order="GDPR-1", reason="asked", correlation_id="rr-2"), "officer")
    reader = store.read.ledger
    signer = notes.new_signer(f"{store.settings.origin}/0")
    store.read.verification.public_keys = PublicKeys(of_log=lambda _: [signer.verifier])
    head = await reader.head(0)
    await reader.checkpoints.add(0, sign(signer.name, TreeHead(size=head.size, root=head.root), [signer]), NOW)
    return store


ANOTHER = "SELECT hold_id FROM audit_legal_holds WHERE correlation_id = 'rr-0'"
CONFLICT = "received_at, event_id, correlation_id, stored_content_hash, refused_content_hash, refused_event"
EDITS = [
    "UPDATE audit_legal_holds SET reason = 'none' WHERE correlation_id = 'rr-0'",
    "UPDATE audit_legal_holds SET correlation_id = 'rr-5' WHERE correlation_id = 'rr-0'",
    "UPDATE audit_legal_holds SET placed_by = 'x'",
    "UPDATE audit_legal_holds SET placed_at = 'infinity'",
    "DELETE FROM audit_legal_holds WHERE correlation_id = 'rr-0'",
    "INSERT INTO audit_legal_holds VALUES (gen_random_uuid(), 'rr-1', 'a case', 'auditor', now())",
    f"UPDATE audit_legal_hold_releases SET hold_id = ({ANOTHER})",  # noqa: S608 - ours
    "UPDATE audit_legal_hold_releases SET released_at = now()",
    "TRUNCATE audit_legal_hold_releases",
    f"INSERT INTO audit_legal_hold_releases VALUES (({ANOTHER}), gen_random_uuid(), 'closed', 'auditor', now())",  # noqa: S608 - ours
    "UPDATE audit_conflicts SET received_at = '20000-01-01' WHERE conflict_id = 1",
    "UPDATE audit_conflicts SET correlation_id = 'rr-5' WHERE conflict_id = 1",
    "UPDATE audit_conflicts SET refused_content_hash = sha256('x') WHERE conflict_id = 1",
    "UPDATE audit_conflicts SET stored_content_hash = ''",
    'UPDATE audit_conflicts SET refused_event = refused_event || \'{"actor_id": "x"}\' WHERE conflict_id = 1',
    "UPDATE audit_conflicts SET refused_event = 'null' WHERE conflict_id = 1",
    "UPDATE audit_conflicts SET refused_event = '\"x\"' WHERE conflict_id = 3",
    "DELETE FROM audit_conflicts WHERE conflict_id = 2",
    f"INSERT INTO audit_conflicts ({CONFLICT}) SELECT {CONFLICT} FROM audit_conflicts WHERE conflict_id = 1",  # noqa: S608 - ours
    "UPDATE audit_expired SET expired_at = expired_at + interval '1 second'",
    "UPDATE audit_expired SET sequence = sequence + 1000",
    "UPDATE audit_settings SET ledger_shards = 2",
    "UPDATE audit_settings SET ledger_origin = 'another'",
    "DELETE FROM audit_settings",
    "INSERT INTO audit_tiles VALUES (0, 0, 3, sha256('x'), decode(repeat('00', 8192), 'hex'))",
    "INSERT INTO audit_tiles VALUES (5, 0, 0, sha256('x'), decode(repeat('00', 8192), 'hex'))",
    "INSERT INTO audit_trees SELECT 9, size, root, frontier FROM audit_trees",
    "UPDATE audit_checkpoints SET note = replace(note, 'ledger', 'Ledger')",
    "UPDATE audit_checkpoints SET note = rtrim(note, E'=\\n') || E'A=\\n'",
    "UPDATE audit_checkpoints SET shard = 3",
    "INSERT INTO audit_cosignatures SELECT shard, size, sha256('x'), 'witness.example/w', 'x' FROM audit_checkpoints",
    "INSERT INTO audit_cosignatures SELECT shard, size, root, 'witness.example/w', E'x\\n' FROM audit_checkpoints",
]


async def test_what_stands_beside_the_ledger_is_sound(filled: Store):
    assert (await filled.read.verify(VerifyRequest())).findings == []


@pytest.mark.parametrize("edit", EDITS)
async def test_every_edit_beside_the_ledger_is_found(filled: Store, sql: asyncpg.Connection, edit: str):
    await sql.execute("SET session_replication_role = replica")  # a superuser's triggers are off
    assert not (await sql.execute(edit)).endswith(" 0")

    assert not (await filled.read.verify(VerifyRequest())).is_valid
