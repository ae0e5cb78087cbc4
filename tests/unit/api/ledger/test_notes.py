"""Signed notes, checkpoints and proofs of C2SP, against vectors of other implementations."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.ledger import checkpoints, merkle, notes, proofs
from kubernaut.api.ledger.checkpoints import CheckpointError, TreeHead
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.notes import Algorithm, NoteError, Signature, Verifier

SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
"""The example of Go's golang.org/x/mod/sumdb/note."""


def cosigner(name: str) -> tuple[Ed25519PrivateKey, Verifier]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return key, Verifier(name=name, algorithm=Algorithm.COSIGNATURE, public=public)


def cosign(key: Ed25519PrivateKey, verifier: Verifier, text: str, seconds: int) -> Signature:
    signature = seconds.to_bytes(8) + key.sign(notes.cosigned(text, seconds))
    return Signature(name=verifier.name, key_id=verifier.key_id, signature=signature)


def test_a_note_is_signed_as_go_signs_it():
    signer = notes.parse_signer(SKEY)

    assert str(notes.signed(TEXT, [signer])) == f"{TEXT}\n{LINE}"
    assert signer.verifier.vkey == VKEY
    assert signer.skey == SKEY


def test_a_note_signed_by_go_verifies():
    note = notes.parse_note(f"{TEXT}\n{LINE}")

    assert [signature.name for signature in note.verified([notes.parse_verifier(VKEY)])] == ["PeterNeumann"]
    assert str(note) == f"{TEXT}\n{LINE}"


def test_a_private_key_shows_in_no_repr():
    assert SKEY[-20:] not in repr(notes.parse_signer(SKEY))


def test_signatures_of_unknown_keys_are_ignored_and_wrong_ones_of_known_keys_are_not():
    known, stranger = notes.new_signer("known.example"), notes.new_signer("stranger.example")
    note = notes.signed(TEXT, [stranger, known])
    forged = notes.Note(text=TEXT.replace("answer", "answers"), signatures=note.signatures)

    assert [signature.name for signature in note.verified([known.verifier])] == ["known.example"]
    assert note.verified([notes.new_signer("known.example").verifier]) == []
    with pytest.raises(NoteError, match=r"signature of known\.example does not verify"):
        forged.verified([known.verifier])


@given(st.text())
def test_any_text_as_a_note_a_key_or_a_proof_is_parsed_or_refused(text):
    for parse, error in (
        (notes.parse_note, NoteError),
        (notes.parse_verifier, NoteError),
        (notes.parse_signer, NoteError),
        (checkpoints.parse, CheckpointError),
        (proofs.parse, InvalidProof),
    ):
        try:
            parse(text)
        except error as refused:
            assert str(refused)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x7fb"])
def test_key_names_have_no_blank_and_no_plus(name):
    with pytest.raises(NoteError, match="no key name"):
        notes.new_signer(name)


@pytest.mark.parametrize("key", [SKEY[:-4], SKEY.replace("c74f20a3", "c74f20a4"), VKEY, SKEY + "A"])
def test_a_damaged_private_key_is_refused_without_showing_it(key):
    with pytest.raises(NoteError) as refused:
        notes.parse_signer(key)

    assert SKEY[-30:-10] not in str(refused.value)


def test_a_checkpoint_is_read_as_it_is_written():
    signer = notes.new_signer("log.example/0")
    head = TreeHead(size=7, root=merkle.leaf_hash(b"x"))
    checkpoint = checkpoints.sign("log.example/0", head, [signer])

    read = checkpoints.verify(str(checkpoint), [signer.verifier])
    assert read.head == head
    assert str(read) == str(checkpoint)


def test_a_checkpoint_of_another_log_or_key_is_refused():
    signer = notes.new_signer("log.example/0")
    text = str(checkpoints.sign("log.example/1", TreeHead(), [signer]))

    with pytest.raises(CheckpointError, match="of another log"):
        checkpoints.verify(text, [signer.verifier])
    with pytest.raises(CheckpointError, match="not signed by a known key"):
        checkpoints.verify(text, [notes.new_signer("log.example/0").verifier])
    assert checkpoints.verify(text, [signer.verifier], origin="log.example/1").head == TreeHead()


def test_both_keys_of_a_rotation_verify():
    old, new = notes.new_signer("log.example"), notes.new_signer("log.example")
    text = str(checkpoints.sign("log.example", TreeHead(), [old, new]))

    for key in (old, new):
        assert checkpoints.verify(text, [key.verifier]).origin == "log.example"


def test_a_quorum_counts_witnesses_once_and_only_known_ones():
    signer = notes.new_signer("log.example")
    checkpoint = checkpoints.sign("log.example", TreeHead(), [signer])
    (key_a, a), (key_b, b), (key_c, c) = (cosigner(f"witness.example/{name}") for name in "abc")
    lines = [cosign(key, witness, checkpoint.note.text, 1_800_000_000) for key, witness in ((key_a, a), (key_b, b))]
    lines += [cosign(key_a, a, checkpoint.note.text, 1_800_000_060), cosign(key_c, c, checkpoint.note.text, 1)]
    text = str(notes.Note(text=checkpoint.note.text, signatures=(*checkpoint.note.signatures, *lines)))

    assert checkpoints.verify(text, [signer.verifier], witnesses=[a, b], quorum=2).head == TreeHead()
    with pytest.raises(CheckpointError, match="cosigned by 2 known witnesses; 3 are demanded"):
        checkpoints.verify(text, [signer.verifier], witnesses=[a, b], quorum=3)
    assert lines[0].cosigned_at == 1_800_000_000


@pytest.mark.parametrize(
    "body", ["log\n", "log\n1\n", "log\n01\nAAAA\n", "log\n-1\nAAAA\n", "log\n1\nAAAA\n", "log\n1\n!\n", "\n1\nA\n"]
)
def test_what_is_no_checkpoint_is_refused(body):
    signer = notes.new_signer("log")

    with pytest.raises(CheckpointError):
        checkpoints.verify(str(notes.signed(body, [signer])), [signer.verifier])


def test_a_proof_is_read_as_it_is_written_and_proves_only_its_entry():
    signer = notes.new_signer("log.example")
    entries = [b"first", b"second", b"third"]
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    checkpoint = checkpoints.sign("log.example", TreeHead(size=3, root=merkle.root_of(leaves)), [signer])
    proof = proofs.InclusionProof(index=2, hashes=(merkle.node_hash(*leaves[:2]),), checkpoint=checkpoint)

    read = proofs.parse(str(proof))
    assert str(read) == str(proof)
    read.verify(b"third")
    with pytest.raises(InvalidProof):
        read.verify(b"second")


def test_extra_data_of_a_proof_is_ignored():
    signer = notes.new_signer("log.example")
    checkpoint = checkpoints.sign("log.example", TreeHead(size=1, root=merkle.leaf_hash(b"only")), [signer])
    text = str(proofs.InclusionProof(index=0, hashes=(), checkpoint=checkpoint))

    proofs.parse(text.replace("\nindex", "\nextra YQ==\nindex", 1)).verify(b"only")
