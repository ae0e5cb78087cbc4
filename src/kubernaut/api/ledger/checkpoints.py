"""Checkpoints (C2SP tlog-checkpoint): the size and root of a log, signed by it and perhaps by witnesses; pure."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubernaut.api.ledger.merkle import EMPTY_ROOT, HASH_SIZE
from kubernaut.api.ledger.notes import Algorithm, Note, NoteError, Signer, Verifier, parse_note, signed

MAX_TREE_SIZE = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class TreeHead:
    """How many leaves a log has, and the root over them."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A tree head of one log, by its origin."""

    origin: str
    head: TreeHead
    note: Note

    def __str__(self) -> str:
        return str(self.note)


class CheckpointError(ValueError):
    """A checkpoint that is malformed, of another log, or not signed as demanded; says which."""


def sign(origin: str, head: TreeHead, signers: Sequence[Signer]) -> Checkpoint:
    """A checkpoint signed by these keys of the log."""
    text = f"{origin}\n{head.size}\n{b64encode(head.root).decode()}\n"
    return Checkpoint(origin=origin, head=head, note=signed(text, signers))


def parse(text: str) -> Checkpoint:
    """Take a checkpoint apart; verifies nothing. Raises CheckpointError."""
    try:
        note = parse_note(text)
    except NoteError as error:
        raise CheckpointError(f"not a signed note: {error}") from error
    lines = note.text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise CheckpointError("a checkpoint has an origin, a tree size and a root hash, a line each")
    origin, size, root = lines[:3]
    if not (size.isascii() and size.isdecimal() and str(int(size)) == size and int(size) <= MAX_TREE_SIZE):
        raise CheckpointError(f"{size[:30]!r} is no tree size")
    try:
        decoded = b64decode(root, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != HASH_SIZE:
        raise CheckpointError(f"{root[:60]!r} is no base64 of a SHA-256 hash")
    return Checkpoint(origin=origin, head=TreeHead(size=int(size), root=decoded), note=note)


def verify(
    text: str, keys: Iterable[Verifier], *, origin: str = "", witnesses: Iterable[Verifier] = (), quorum: int = 0
) -> Checkpoint:
    """The checkpoint, signed by one of the log's keys and cosigned by at least `quorum` of the witnesses.

    Without `origin`, the name of the key that signed must be the checkpoint's origin. Raises CheckpointError.
    """
    checkpoint = parse(text)
    keys = list(keys)
    try:
        by_log = checkpoint.note.verified(keys)
        by_witnesses = checkpoint.note.verified(key for key in witnesses if key.algorithm is Algorithm.COSIGNATURE)
    except NoteError as error:
        raise CheckpointError(str(error)) from error
    if not by_log:
        names = ", ".join(sorted({key.name for key in keys})) or "none"
        raise CheckpointError(f"not signed by a known key of the log (known: {names})")
    if checkpoint.origin not in ({origin} if origin else {signature.name for signature in by_log}):
        raise CheckpointError(f"a checkpoint of another log: its origin is {checkpoint.origin[:100]!r}")
    if len({signature.name for signature in by_witnesses}) < quorum:
        raise CheckpointError(f"cosigned by {len(by_witnesses)} known witnesses; {quorum} are demanded")
    return checkpoint
