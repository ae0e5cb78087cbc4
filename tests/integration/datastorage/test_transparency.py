"""The ledger over HTTP as a transparency log: whoever has its public key needs nothing else of ours."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from kubernaut.api.ledger import checkpoints, entries, merkle, notes, receipts, tiles
from kubernaut.api.ledger.checkpoints import Checkpoint
from kubernaut.api.ledger.notes import Signer
from kubernaut.datastorage import chain
from kubernaut.datastorage.config import LedgerConfig, WitnessConfig
from kubernaut.datastorage.errors import CannotStart
from kubernaut.datastorage.service import open_service
from kubernaut.datastorage.tree import Tree
from support.datastorage import BATCH, JSON, config_for
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event
from support.witness import TestWitness, open_witness

ORIGIN = "audit.example.com/ledger"
OpenLog = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def signer() -> Signer:
    return notes.new_signer(f"{ORIGIN}/0")


@pytest.fixture
def key_file(tmp_path: Path, signer: Signer) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# the key of 2026\n{signer.skey}\n")
    return path


@pytest.fixture
def open_log(database: str, key_file: Path) -> OpenLog:
    """The running service with a key, signing every tenth of a second."""

    @asynccontextmanager
    async def opening(**settings: object) -> AsyncIterator[httpx2.AsyncClient]:
        ledger = LedgerConfig(
            **{"origin": ORIGIN, "key_file": key_file, "checkpoint_interval": 0.1} | settings  # type: ignore[arg-type]
        )
        async with (
            open_service(config_for(database, ledger=ledger)) as server,
            httpx2.AsyncClient(base_url=server.url, timeout=10) as client,
        ):
            yield client

    return opening


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


async def append(http: httpx2.AsyncClient, count: int) -> list[str]:
    body = a_body(*(a_wire_event(event_data={"n": number}) for number in range(count)))
    response = await http.post(BATCH, content=body, headers=JSON)
    assert response.status_code == 201, response.text
    return response.json()["event_ids"]


async def checkpoint_of(http: httpx2.AsyncClient, signer: Signer, size: int) -> Checkpoint:
    found: list[Checkpoint] = []

    async def is_signed() -> bool:
        response = await http.get("/ledger/0/checkpoint")
        if response.status_code == 200:
            found.append(checkpoints.verify(response.text, [signer.verifier]))
        return bool(found) and found[-1].head.size == size

    await eventually(is_signed, description=f"a checkpoint of {size} events")
    return found[-1]


async def test_an_auditor_with_the_public_key_checks_the_whole_log(open_log: OpenLog, signer: Signer):
    async with open_log() as http:
        await append(http, 600)
        checkpoint = await checkpoint_of(http, signer, 600)

        leaves: list[bytes] = []
        for tile in tiles.tiles_of(600):
            response = await http.get(f"/ledger/0/{tile.path()}")
            assert response.headers["content-type"] == "application/octet-stream"
            assert ("immutable" in response.headers["cache-control"]) is tile.is_full
            if tile.level == 0:
                leaves += tiles.split_hashes(response.content)
                bundle = await http.get(f"/ledger/0/{tiles.bundle_path(tile.index, tile.width)}")
                found = tiles.decode_bundle(bundle.content)
                assert [merkle.leaf_hash(entry) for entry in found] == leaves[-tile.width :]
                assert entries.decode(found[0]).sequence == tile.index * 256 + 1
    assert merkle.root_of(leaves) == checkpoint.head.root


async def test_what_is_not_in_the_log_is_a_404(open_log: OpenLog, signer: Signer):
    async with open_log() as http:
        await append(http, 3)
        await checkpoint_of(http, signer, 3)
        for path in (
            "0/tile/0/000",
            "0/tile/0/000.p/4",
            "0/tile/0/0",
            "0/tile/0/001.p/1",
            "0/tile/1/000.p/1",
            "0/tile/64/000.p/1",
            "0/tile/0/x999/x999/x999/x999/999.p/1",
            "0/tile/entries/000.p/4",
            "0/tile/entries/x",
            "1/checkpoint",
        ):
            response = await http.get(f"/ledger/{path}")
            assert response.status_code == 404, path
            assert response.headers["content-type"] == "application/problem+json"
        assert (await http.get("/ledger/0/tile/0/000.p/3")).status_code == 200


async def test_a_receipt_proves_its_event_and_no_other(open_log: OpenLog, signer: Signer):
    async with open_log(checkpoint_interval=3600, checkpoint_events=10**6) as http:
        ids = await append(http, 300)
        received = []
        for event_id in (ids[0], ids[255], ids[299]):
            response = await http.get(f"/api/v1/audit/events/{event_id}/receipt")
            assert response.status_code == 200, response.text
            received.append(receipts.parse(response.content))

        missing = await http.get(f"/api/v1/audit/events/{uuid4()}/receipt")
        assert missing.status_code == 404

    for event_id, receipt in zip((ids[0], ids[255], ids[299]), received, strict=True):
        verified = receipts.verify(receipt, [signer.verifier])
        assert str(verified.entry.event_id) == event_id
        assert verified.checkpoint.head.size == 300
    first, second = received[:2]
    changes = {"event": second.event, "entry": second.entry, "proof": second.proof}
    edited = first.event.replace('"n":0', '"n":1')
    for field, value in [*changes.items(), ("event", edited)]:
        document = {"event": first.event, "entry": first.entry, "proof": first.proof, field: value}
        with pytest.raises(receipts.InvalidReceipt):
            receipts.verify(receipts.parse(json.dumps(document).encode()), [signer.verifier])
    with pytest.raises(receipts.InvalidReceipt, match="not signed by a known key"):
        receipts.verify(first, [notes.new_signer(f"{ORIGIN}/0").verifier])


async def test_without_a_key_nothing_is_signed_and_the_answer_says_so(open_log: OpenLog):
    async with open_log(key_file=None) as http:
        (event_id,) = await append(http, 1)
        for path in ("/ledger/0/checkpoint", f"/api/v1/audit/events/{event_id}/receipt"):
            response = await http.get(path)
            assert (response.status_code, "ledger.keyFile is not set" in response.text) == (404, True)
        assert (await http.get("/ledger/0/tile/0/000.p/1")).status_code == 200


async def test_keys_are_rotated_with_an_overlap(open_log: OpenLog, signer: Signer, key_file: Path):
    new = notes.new_signer(f"{ORIGIN}/0")
    async with open_log() as http:
        await append(http, 1)
        await checkpoint_of(http, signer, 1)
        write(key_file, signer.skey, new.skey)
        await append(http, 1)
        for key in (signer, new):
            await checkpoint_of(http, key, 2)
        write(key_file, "rubbish")
        await append(http, 1)
        await checkpoint_of(http, new, 3)
        write(key_file, new.skey)
        await append(http, 1)
        assert (await checkpoint_of(http, new, 4)).note.verified([signer.verifier]) == []


async def test_a_bad_key_file_stops_the_start(open_log: OpenLog, key_file: Path):
    write(key_file, "PRIVATE+KEY+x")
    with pytest.raises(CannotStart, match=r"ledger\.keyFile .*kubernaut audit keys new"):
        async with open_log():
            pass


async def test_another_origin_is_refused_at_start(open_log: OpenLog):
    async with open_log():
        pass
    with pytest.raises(CannotStart, match="an origin never changes"):
        async with open_log(origin="elsewhere.example"):
            pass


async def forge(sql: asyncpg.Connection, sequence: int) -> None:
    """Rewrite one row and everything that follows from it, as somebody with the database can."""
    await sql.execute("SET kubernaut.allow_change = 'audit_ledger'")
    await sql.execute("UPDATE audit_ledger SET leaf_hash = sha256('forged') WHERE sequence = $1", sequence)
    tree = Tree()
    tree.extend([row["leaf_hash"] for row in await sql.fetch("SELECT leaf_hash FROM audit_ledger ORDER BY sequence")])
    await sql.execute("UPDATE audit_trees SET root = $1, frontier = $2", tree.root, tree.frontier)


async def test_a_rewritten_ledger_is_not_signed_any_more(open_log: OpenLog, signer: Signer, sql: asyncpg.Connection):
    async with open_log() as http:
        await append(http, 10)
        await checkpoint_of(http, signer, 10)
    await forge(sql, 5)
    async with open_log() as http:
        await append(http, 1)

        async def says_so() -> bool:
            ready = await http.get("/readyz")
            return ready.status_code == 503 and ready.json()["checks"] == {"ledger": "ledger_inconsistent"}

        await eventually(says_so)
        assert (await checkpoint_of(http, signer, 10)).head.size == 10
        verification = (await http.post("/api/v1/audit/verify-chain", content=b"{}", headers=JSON)).json()
    assert verification["findings"][0]["sequence"] == 5


async def test_witnesses_cosign_what_extends_the_log_and_a_quorum_is_waited_for(open_log: OpenLog, signer: Signer):
    first, second = TestWitness("witness.example/w1"), TestWitness("witness.example/w2")
    async with open_witness(first), open_witness(second):
        for witness in (first, second):
            witness.logs = [signer.verifier]
        second.is_down = True
        configured = tuple(WitnessConfig(url=witness.url, vkey=witness.verifier.vkey) for witness in (first, second))
        async with open_log(witnesses=configured, witness_quorum=2) as http:
            await append(http, 3)

            async def has_cosigned() -> bool:
                return first.heads.get(f"{ORIGIN}/0") is not None and first.heads[f"{ORIGIN}/0"].size == 3

            await eventually(has_cosigned)
            assert (await http.get("/ledger/0/checkpoint")).status_code == 404
            second.is_down = False
            await checkpoint_of(http, signer, 3)
            await append(http, 297)
            await checkpoint_of(http, signer, 300)
            await append(http, 303)
            await checkpoint_of(http, signer, 603)
            text = (await http.get("/ledger/0/checkpoint")).text

    keys = [witness.verifier for witness in (first, second)]
    assert checkpoints.verify(text, [signer.verifier], witnesses=keys, quorum=2).head.size == 603
    assert first.rejected == second.rejected == []


async def test_a_witness_cosigns_every_ledger_whatever_the_sizes_of_the_others(open_log: OpenLog, signer: Signer):
    witness = TestWitness()
    async with open_witness(witness):
        witness.logs = [signer.named(f"{ORIGIN}/{shard}").verifier for shard in range(3)]
        configured = (WitnessConfig(url=witness.url, vkey=witness.verifier.vkey),)
        async with open_log(shards=3, witnesses=configured, witness_quorum=1) as http:
            sizes = {0: 0, 1: 0, 2: 0}
            for number in range(30):
                correlation = f"rr-{number % 7}"
                shard = chain.shard_of(correlation, 3)
                body = a_body(*(a_wire_event(correlation_id=correlation) for _ in range(10 if shard == 1 else 1)))
                assert (await http.post(BATCH, content=body, headers=JSON)).status_code == 201
                sizes[shard] += 10 if shard == 1 else 1

            def have_cosigned() -> bool:
                return {origin: head.size for origin, head in witness.heads.items()} == {
                    f"{ORIGIN}/{shard}": size for shard, size in sizes.items() if size
                }

            await eventually(have_cosigned, timeout=20)
    assert len(set(sizes.values())) == 3


async def test_a_witness_refuses_a_forked_history(open_log: OpenLog, signer: Signer, sql: asyncpg.Connection):
    witness = TestWitness()
    async with open_witness(witness):
        witness.logs = [signer.verifier]
        configured = (WitnessConfig(url=witness.url, vkey=witness.verifier.vkey),)
        async with open_log(witnesses=configured, witness_quorum=1) as http:
            await append(http, 10)
            await checkpoint_of(http, signer, 10)
        # Somebody with the database and the key: the checkpoints are removed as well.
        await forge(sql, 5)
        await sql.execute("SET kubernaut.allow_change = 'audit_checkpoints'")
        await sql.execute("DELETE FROM audit_checkpoints")
        async with open_log(witnesses=configured, witness_quorum=1) as http:
            await append(http, 1)

            async def is_refused() -> bool:
                return bool(witness.rejected)

            await eventually(is_refused)
            response = await http.get("/ledger/0/checkpoint")
    assert response.status_code == 404
    assert witness.heads[f"{ORIGIN}/0"].size == 10
