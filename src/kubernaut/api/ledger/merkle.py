"""Merkle trees of RFC 9162 section 2: hashes, proofs, and their verification; pure.

    leaf = SHA-256(0x00 ‖ entry)      node = SHA-256(0x01 ‖ left ‖ right)      empty tree = SHA-256("")

A tree of `size` leaves splits at the largest power of two smaller than `size`. A *perfect* subtree has 2**level leaves
and is named by (level, index): it covers the leaves from index * 2**level. Every hash in a proof is the hash of a range
of leaves; `perfect_subtrees` takes such a range apart, so that whoever has the hashes of perfect subtrees can prove
anything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

HASH_SIZE = 32
EMPTY_ROOT = sha256().digest()
"""The root of a tree without leaves."""


@dataclass(frozen=True, slots=True)
class Node:
    """A perfect subtree: the leaves from index * 2**level to (index + 1) * 2**level."""

    level: int
    index: int


class Range(NamedTuple):
    """Leaves from `start` to before `end`, whose hash stands in a proof."""

    start: int
    end: int


class InvalidProof(ValueError):
    """A proof that does not lead to the root; says which of the two is wrong as far as that can be told."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry of the log."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two adjacent subtrees."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: Iterable[bytes]) -> bytes:
    """The root over adjacent subtrees of equal size, of which there may be any number."""
    frontier = Frontier()
    frontier.extend(hashes)
    return frontier.root()


class Frontier:
    """The right edge of a growing tree: the perfect subtrees that its leaves fall into, largest first."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Raises ValueError when there is not one hash for each bit of the size that is set."""
        self.size = size
        self.hashes = list(hashes)
        if size < 0 or len(self.hashes) != size.bit_count() or any(len(each) != HASH_SIZE for each in self.hashes):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(self.hashes)}")

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Append leaves by their hashes."""
        edge, size = self.hashes, self.size
        for current in hashes:
            merged = current
            left = size
            while left & 1:
                merged = sha256(b"\1" + edge.pop() + merged).digest()
                left >>= 1
            edge.append(merged)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range from those of its perfect subtrees, left to right."""
    folded = hashes[-1]
    for left in hashes[-2::-1]:
        folded = node_hash(left, folded)
    return folded


def perfect_subtrees(leaves: Range) -> list[Node]:
    """The perfect subtrees that make up a range of a proof, left to right."""
    nodes: list[Node] = []
    start = leaves.start
    while start < leaves.end:
        level = (leaves.end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """What an inclusion proof of the leaf `index` in the tree of `size` leaves consists of, from the leaf upwards.

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """What a consistency proof between the trees of `old` and of `new` leaves consists of.

    Empty when the sizes are equal or the old tree is empty. Raises ValueError when `old` exceeds `new`.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} leaves cannot have grown into one of {new}")
    if old in {0, new}:
        return []
    ranges: list[Range] = []
    start, end = 0, new
    is_complete = True  # whether the old root is known to the verifier as the hash of the range that is left
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append(Range(middle, end))
            end = middle
        else:
            ranges.append(Range(start, middle))
            start = middle
            is_complete = False
    if not is_complete:
        ranges.append(Range(start, end))
    return ranges[::-1]


def proof(ranges: Iterable[Range], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof, given those of perfect subtrees."""
    return [fold([hash_of(node) for node in perfect_subtrees(leaves)]) for leaves in ranges]


def verify_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes], root: bytes) -> None:
    """Raise InvalidProof unless the hashes prove that `leaf` is leaf `index` of the tree with this size and root."""
    if not 0 <= index < size:
        raise InvalidProof(f"a tree of {size} leaves has no leaf {index}")
    computed = leaf
    for sibling, is_left in _upwards(index, size - 1, hashes):
        computed = node_hash(sibling, computed) if is_left else node_hash(computed, sibling)
    if computed != root:
        raise InvalidProof(f"leaf {index} is not in the tree of {size} leaves with root {root.hex()}")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, hashes: Sequence[bytes]) -> None:
    """Raise InvalidProof unless the hashes prove that the first `old` leaves of the new tree are the old tree."""
    if not 0 <= old <= new:
        raise InvalidProof(f"a tree of {old} leaves cannot have grown into one of {new}")
    if old in {0, new}:
        _verify_trivially(old, old_root, new, new_root, hashes)
        return
    # The proof begins at the old tree's last perfect subtree; where that is the whole old tree, its root is not sent.
    level = ((old & -old).bit_length()) - 1
    if not hashes:
        raise InvalidProof(f"the consistency proof from {old} to {new} leaves is empty")
    first, *rest = hashes if old & (old - 1) else [old_root, *hashes]
    old_computed = new_computed = first
    for sibling, is_left in _upwards((old - 1) >> level, (new - 1) >> level, rest):
        if is_left:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
        else:
            new_computed = node_hash(new_computed, sibling)
    for size, root, computed in ((old, old_root, old_computed), (new, new_root, new_computed)):
        if computed != root:
            raise InvalidProof(f"the consistency proof does not lead to the root {root.hex()} of {size} leaves")


def _upwards(node: int, last: int, hashes: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each hash of a proof from `node` to the root, and whether it stands left of what was computed so far.

    `last` is the last node of the level. Raises InvalidProof when there are too many hashes or too few.
    """
    for sibling in hashes:
        if last == 0:
            raise InvalidProof("the proof has too many hashes")
        is_left = bool(node & 1) or node == last
        yield sibling, is_left
        if is_left:
            while node and not node & 1:  # levels on which the right edge has no sibling
                node >>= 1
                last >>= 1
        node >>= 1
        last >>= 1
    if last:
        raise InvalidProof("the proof has too few hashes")


def _verify_trivially(old: int, old_root: bytes, new: int, new_root: bytes, hashes: Sequence[bytes]) -> None:
    if hashes:
        raise InvalidProof("a consistency proof from an empty or an equal tree has no hashes")
    if old == new and old_root != new_root:
        raise InvalidProof(f"two trees of {old} leaves have different roots")
    if old == 0 and old_root != EMPTY_ROOT:
        raise InvalidProof("a tree without leaves has another root")


def _split(count: int) -> int:
    """The largest power of two smaller than `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
