"""The right edge of a ledger's Merkle tree while it grows; pure.

A tree is kept as full tiles, which never change, and an edge: for every tile level the hashes that fill no tile yet,
and the perfect subtrees that they fall into. The subtrees (the *frontier*) are stored with the head of the ledger, and
the signed roots follow from them. The hashes themselves are read back from ledger rows and tiles; where somebody edited
those, they no longer lead to the frontier. Then the tree goes on from the frontier, so that it stays consistent with
every checkpoint, and verification names the row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.merkle import EMPTY_ROOT, HASH_SIZE, Frontier
from kubernaut.api.ledger.tiles import HEIGHT, WIDTH


@dataclass(frozen=True, kw_only=True)
class FullTile:
    """A tile that has become full, and the root over it, which is a hash of the tile above."""

    level: int
    index: int
    hashes: bytes
    root: bytes


@dataclass(kw_only=True, slots=True)
class _Level:
    """The unfinished tile of one level."""

    frontier: Frontier = field(default_factory=Frontier)
    hashes: list[bytes] = field(default_factory=list)


class Tree:
    """The edge of one ledger's tree."""

    def __init__(self, size: int = 0, frontier: bytes = b"", edges: Sequence[Iterable[bytes]] = ()) -> None:
        """A tree of `size` leaves.

        `frontier` has the hashes of its perfect subtrees, largest first, and `edges` for every tile level, from the
        lowest, the hashes of its unfinished tile. Raises ValueError when they are not as many as the size demands.
        """
        self.size = size
        self._levels: list[_Level] = []
        subtrees = [frontier[start : start + HASH_SIZE] for start in range(0, len(frontier), HASH_SIZE)]
        for level, edge in enumerate(edges):
            width = (size >> (level * HEIGHT)) % WIDTH
            count = width.bit_count()
            hashes = list(edge)
            if len(hashes) != width:
                raise ValueError(f"level {level} of a tree of {size} leaves has {width} hashes, not {len(hashes)}")
            own = subtrees[len(subtrees) - count :]
            del subtrees[len(subtrees) - count :]
            self._levels.append(_Level(frontier=Frontier(width, own), hashes=hashes))
        if subtrees or size >> (len(self._levels) * HEIGHT):
            raise ValueError(f"a tree of {size} leaves has more levels, or fewer perfect subtrees")

    @property
    def frontier(self) -> bytes:
        """The hashes of the perfect subtrees, largest first."""
        return b"".join(digest for level in reversed(self._levels) for digest in level.frontier.hashes)

    @property
    def root(self) -> bytes:
        """The root over all leaves."""
        subtrees = [digest for level in reversed(self._levels) for digest in level.frontier.hashes]
        return merkle.fold(subtrees) if subtrees else EMPTY_ROOT

    def altered_levels(self) -> list[int]:
        """Tile levels whose hashes do not lead to the frontier: ledger rows or tiles were changed behind our back."""
        altered: list[int] = []
        for number, level in enumerate(self._levels):
            expected = Frontier()
            expected.extend(level.hashes)
            if expected.hashes != level.frontier.hashes:
                altered.append(number)
        return altered

    def extend(self, leaves: Sequence[bytes]) -> list[FullTile]:
        """Append leaves by their hashes; the tiles that have become full, in the order in which they did."""
        full: list[FullTile] = []
        position = 0
        while position < len(leaves):
            free = WIDTH - len(self._level(0).hashes)
            chunk = leaves[position : position + free]
            self.size += len(chunk)
            self._add(0, chunk, full)
            position += len(chunk)
        return full

    def _level(self, number: int) -> _Level:
        if number == len(self._levels):
            self._levels.append(_Level())
        return self._levels[number]

    def _add(self, number: int, chunk: Sequence[bytes], full: list[FullTile]) -> None:
        level = self._level(number)
        level.frontier.extend(chunk)
        level.hashes.extend(chunk)
        if len(level.hashes) < WIDTH:
            return
        root = level.frontier.root()
        index = (self.size >> ((number + 1) * HEIGHT)) - 1
        full.append(FullTile(level=number, index=index, hashes=b"".join(level.hashes), root=root))
        self._levels[number] = _Level()
        self._add(number + 1, [root], full)


def levels_of(size: int) -> int:
    """How many tile levels a tree of `size` leaves has."""
    return -(-size.bit_length() // HEIGHT)
