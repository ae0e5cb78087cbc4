"""The page for those who write another verifier: its vectors are ours, and its verifier works."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature

from kubernaut.api.ledger import checkpoints, entries, merkle, notes, proofs, receipts
from kubernaut.api.ledger.receipts import Receipt
from kubernaut.datastorage import chain

PAGE = (Path(__file__).parents[4] / "docs" / "ledger.md").read_text()
BLOCKS = dict(re.findall(r"```(json|python)\n(.*?)```", PAGE, re.DOTALL))
VECTORS: dict[str, Any] = json.loads(BLOCKS["json"])


@pytest.fixture
def receipt() -> dict[str, str]:
    last = VECTORS["events"][2]
    return {"event": last["canonical"], "entry": last["entry"], "proof": VECTORS["proof_of_the_third"]}


def test_the_vectors_follow_from_each_other():
    previous: dict[str, bytes] = {}
    leaves = []
    for vector in VECTORS["events"]:
        event = msgspec.json.decode(vector["canonical"], type=chain.Event)
        entry = entries.decode(vector["entry"].encode())
        before = previous.get(event.correlation_id, chain.ORIGIN)
        assert chain.canonical(event).decode() == vector["canonical"]
        assert chain.content_hash(event).hex() == vector["content_hash"] == entry.content_hash.hex()
        assert chain.event_hash(before, entry.content_hash).hex() == vector["event_hash"] == entry.event_hash.hex()
        assert merkle.leaf_hash(vector["entry"].encode()).hex() == vector["leaf_hash"]
        previous[event.correlation_id] = entry.event_hash
        leaves.append(bytes.fromhex(vector["leaf_hash"]))
    assert merkle.root_of(leaves).hex() == VECTORS["root"]
    signer = notes.parse_signer(VECTORS["skey"])
    assert signer.verifier.vkey == VECTORS["vkey"]
    checkpoint = checkpoints.verify(VECTORS["checkpoint"], [signer.verifier])
    assert checkpoint.head.root.hex() == VECTORS["root"]
    assert str(checkpoints.sign(checkpoint.origin, checkpoint.head, [signer])) == VECTORS["checkpoint"]
    proofs.parse(VECTORS["proof_of_the_third"]).verify(VECTORS["events"][2]["entry"].encode())


def test_the_verifier_of_the_page_and_ours_agree(receipt: dict[str, str]):
    page: dict[str, Any] = {}
    exec(BLOCKS["python"], page)  # noqa: S102 - the page's example is what is tested

    assert page["verify"](receipt, VECTORS["vkey"])["event_id"] == str(UUID(int=0x0000000000004000_8000_000000000003))
    assert receipts.verify(Receipt(**receipt), [notes.parse_verifier(VECTORS["vkey"])]).entry.sequence == 3
    for field in receipt:
        for old, new in (("rr-1", "rr-9"), ("index 2", "index 1"), ('"late":false', '"late":true'), ("\n3\n", "\n4\n")):
            if old not in receipt[field]:
                continue
            edited = receipt | {field: receipt[field].replace(old, new)}
            with pytest.raises((AssertionError, InvalidSignature)):
                page["verify"](edited, VECTORS["vkey"])
            with pytest.raises(receipts.InvalidReceipt):
                receipts.verify(Receipt(**edited), [notes.parse_verifier(VECTORS["vkey"])])
