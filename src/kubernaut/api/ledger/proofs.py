"""Inclusion proofs that can be kept in a file (C2SP tlog-proof): index, hashes and checkpoint; pure."""

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass

from kubernaut.api.ledger import checkpoints, merkle
from kubernaut.api.ledger.checkpoints import Checkpoint, CheckpointError

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
"""Hashes of an inclusion proof in any tree."""


@dataclass(frozen=True, kw_only=True)
class InclusionProof:
    """That one entry is in a log whose checkpoint is `checkpoint`."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def __str__(self) -> str:
        lines = [HEADER, f"index {self.index}", *(b64encode(each).decode() for each in self.hashes)]
        return "\n".join(lines) + f"\n\n{self.checkpoint}"

    def verify(self, entry: bytes) -> None:
        """Raise InvalidProof unless the entry is in the tree of the checkpoint, whose signatures are not looked at."""
        head = self.checkpoint.head
        merkle.verify_inclusion(merkle.leaf_hash(entry), self.index, head.size, self.hashes, head.root)


def parse(text: str) -> InclusionProof:
    """A proof from its text; verifies nothing. Raises InvalidProof."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != HEADER or not blank:
        raise merkle.InvalidProof(f"a proof begins with {HEADER}, and ends with a blank line and a checkpoint")
    lines = lines[1:]
    if lines and lines[0].startswith("extra "):
        lines = lines[1:]
    number = lines[0].removeprefix("index ") if lines else ""
    if not lines or lines[0] == number or not number.isascii() or not number.isdecimal() or str(int(number)) != number:
        raise merkle.InvalidProof("a proof has a line “index N”")
    if len(lines) - 1 > MAX_HASHES:
        raise merkle.InvalidProof(f"a proof has at most {MAX_HASHES} hashes")
    try:
        hashes = tuple(b64decode(line, validate=True) for line in lines[1:])
    except (binascii.Error, ValueError):
        hashes = (b"",)
    if any(len(each) != merkle.HASH_SIZE for each in hashes):
        raise merkle.InvalidProof("the hashes of a proof are base64 of 32 bytes, a line each")
    try:
        return InclusionProof(index=int(number), hashes=hashes, checkpoint=checkpoints.parse(checkpoint))
    except CheckpointError as error:
        raise merkle.InvalidProof(f"the checkpoint of the proof: {error}") from error
