"""What the page of the ledgers shows."""

from datetime import UTC, datetime

import pytest

from kubernaut.api.ledger import checkpoints, notes
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.notes import Algorithm, Note, Signature, Verifier
from kubernaut.datastorage.web.ledger_view import LedgerState, ledger_view

SIGNER = notes.new_signer("audit.example.com/0")
WITNESS = notes.new_signer("witness.example.com")
HEAD = TreeHead(size=1000, root=bytes(range(32)))
CHECKPOINT = checkpoints.sign(SIGNER.name, HEAD, [SIGNER])


def cosigner() -> Verifier:
    return Verifier(name=WITNESS.name, algorithm=Algorithm.COSIGNATURE, public=WITNESS.verifier.public)


def cosigned(seconds: int, *, text: str = CHECKPOINT.note.text):
    signature = WITNESS._key.sign(notes.cosigned(text, seconds))
    line = Signature(name=WITNESS.name, key_id=cosigner().key_id, signature=seconds.to_bytes(8) + signature)
    note = Note(text=CHECKPOINT.note.text, signatures=(*CHECKPOINT.note.signatures, line))
    return checkpoints.parse(str(note))


def a_state(**fields: object) -> LedgerState:
    given = {"shard": 0, "head": HEAD, "newest": CHECKPOINT, "served": CHECKPOINT, "keys": [SIGNER.verifier]}
    return LedgerState(**{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "quorum", "state", "summary"),
    [
        ({}, 0, "good", "Signed up to 1,000 of 1,000 events."),
        (
            {"head": TreeHead(size=1007, root=bytes(32))},
            0,
            "good",
            "Signed up to 1,000 of 1,007 events; the last 7 wait for the next checkpoint.",
        ),
        ({"served": None}, 2, "open", "Signed up to 1,000; a quorum of 2 witnesses is missing."),
        ({"newest": None, "served": None}, 0, "open", "Not signed: no checkpoint was made yet."),
        ({"newest": None, "served": None, "keys": []}, 0, "open", "Not signed: ledger.keyFile is not set."),
        ({"head": TreeHead(size=9, root=bytes(32))}, 0, "bad", "Truncated: 1,000 leaves were signed, 9 are there."),
        ({"inconsistency": "leaf 4 is wrong"}, 0, "bad", "Nothing is signed any more: leaf 4 is wrong."),
    ],
)
def test_state_is_said_in_one_sentence(fields, quorum, state, summary):
    (card,) = ledger_view([a_state(**fields)], {}, quorum).cards

    assert card.state == state
    assert card.summary.startswith(summary)


def test_witness_and_when_it_signed():
    (card,) = ledger_view([a_state(newest=cosigned(1_700_000_000))], {"https://w": cosigner()}, 0).cards

    (line,) = card.witnesses
    assert (line.name, line.url) == (WITNESS.name, "https://w")
    assert line.cosigned_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert card.keys == (SIGNER.verifier.vkey,)


@pytest.mark.parametrize(
    "checkpoint", [CHECKPOINT, None, cosigned(5, text="other\n"), cosigned(2**62)], ids=["log", "none", "other", "year"]
)
def test_cosignature_that_says_nothing_is_none(checkpoint):
    (card,) = ledger_view([a_state(newest=checkpoint)], {"https://w": cosigner()}, 0).cards

    assert card.witnesses[0].cosigned_at is None
