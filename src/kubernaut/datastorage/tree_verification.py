"""Verifying a ledger tile by tile against its Merkle tree; pure.

A ledger is verified in one pass: each row against its payload and its own hashes, its leaf against the tile that was
stored when the leaf was appended, and the root over all leaves against the stored head and every trusted head that the
caller has. Where a row is wrong or gone, the stored leaf takes its place, so that one edit is one finding and the rows
behind it are still checked. Only where rows, tiles and head were all rewritten alike do they agree, and then a trusted
head of before does not.

The rows of a tile are checked by `TileVerifier`, which may be in another process; what it found goes to `TreeVerifier`
in the order of the ledger.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple, Protocol

import msgspec

from kubernaut.api.events import LedgerFinding, RemovedEvents
from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.merkle import HASH_SIZE, Frontier
from kubernaut.api.ledger.tiles import HEIGHT, WIDTH, split_hashes
from kubernaut.datastorage import chain
from kubernaut.datastorage.tree import Tree
from kubernaut.datastorage.verification import Findings, StoredRow, check_row


class StoredTile(NamedTuple):
    """A full tile as it stands in the database."""

    hashes: bytes
    root: bytes


class StoredTiles(Protocol):
    """Full tiles as they were stored; None where there is none."""

    async def __call__(self, level: int, index: int) -> StoredTile | None: ...


class RangeResult(msgspec.Struct, kw_only=True):
    """What was found in consecutive tiles of one ledger."""

    roots: list[bytes] = msgspec.field(default_factory=list)
    """The root of each full tile, in order."""

    frontiers: dict[int, list[bytes]] = msgspec.field(default_factory=dict)
    """For sizes of the tree within a tile the perfect subtrees of that tile's leaves so far."""

    total_count: int = 0
    """Rows that are there."""

    payload_count: int = 0
    bad_count: int = 0
    findings: list[LedgerFinding] = msgspec.field(default_factory=list)
    gaps: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """First sequence and count of rows that are not there."""

    removed: list[RemovedEvents] = msgspec.field(default_factory=list)

    def add_leaves(self, index: int, leaves: Sequence[bytes], cuts: Iterable[int]) -> None:
        """Take the leaves of a tile into the tree, with the subtrees at the sizes `cuts` that lie within it."""
        frontier = Frontier()
        first = index * WIDTH
        for cut in sorted(cut for cut in cuts if first < cut < first + len(leaves)):
            frontier.extend(leaves[frontier.size : cut - first])
            self.frontiers[cut] = list(frontier.hashes)
        frontier.extend(leaves[frontier.size :])
        if len(leaves) == WIDTH:
            self.roots.append(frontier.root())
        else:
            self.frontiers[first + len(leaves)] = list(frontier.hashes)


@dataclass(kw_only=True)
class TileVerifier:
    """One pass over the rows of one tile in the order of their sequence."""

    index: int
    width: int
    """Leaves that the tree has in this tile."""

    stored: StoredTile | None
    link: bytes
    """The link before the first row, for rows from before the tree."""

    findings: Findings
    total_count: int = 0
    payload_count: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    _rows: list[tuple[chain.Row | None, bytes | None]] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The sequence of the first row."""
        return self.index * WIDTH + 1

    def check(self, stored: StoredRow) -> None:
        """Check the next row."""
        row = stored.row
        self.total_count += 1
        self.payload_count += stored.payload is not None
        self._skip_to(row.sequence)
        if row.sequence < self.first + len(self._rows):
            self.findings.add(row, "another row of the ledger has the same sequence")
            return
        is_bad = not check_row(self.findings, stored)
        leaf = chain.leaf_hash(row)
        if row.format == 1:
            link = chain.link_hash(self.link, row)
            if link != row.link_hash:
                is_bad = True
                message = "the row does not follow the one before it: one of them was changed, moved or removed"
                self.findings.add(row, message, link, row.link_hash or b"")
            self.link = row.link_hash or b""
        self._rows.append((row, row.leaf_hash if is_bad and row.leaf_hash else leaf))

    def unreadable(self, sequence: int, reason: str) -> None:
        """The next row, or its payload, cannot be read at all."""
        self._skip_to(sequence)
        self.total_count += 1
        self.findings.bad_count += 1
        self.findings.add_place(sequence, f"the row cannot be read: {reason}")
        if sequence == self.first + len(self._rows):
            self._rows.append((None, None))

    def finish(self) -> list[bytes]:
        """The leaves, after the last row; compared with those of the stored tile, which stand in for bad ones."""
        self._skip_to(self.first + self.width)
        is_full = self.width == WIDTH
        if is_full and self.stored is None:
            self.findings.add_place(self.first, f"the tile 0/{self.index} is missing")
        originals: Sequence[bytes | None] = [None] * self.width
        if is_full and self.stored:
            if len(self.stored.hashes) == WIDTH * HASH_SIZE:
                originals = split_hashes(self.stored.hashes)
            else:
                self.findings.add_place(self.first, f"the tile 0/{self.index} has another length")
        leaves: list[bytes] = []
        for (row, leaf), original in zip(self._rows, originals, strict=True):
            if row is not None and original not in {None, leaf}:
                self.findings.add(row, "the row is not the one whose leaf is in the tree", original or b"", leaf or b"")
            leaves.append(original or leaf or bytes(HASH_SIZE))
        return leaves

    def _skip_to(self, sequence: int) -> None:
        first = self.first + len(self._rows)
        if sequence > first:
            self.gaps.append((first, sequence - first))
            self._rows += [(None, None)] * (sequence - first)


def check_root(findings: Findings, index: int, stored: StoredTile | None, root: bytes) -> None:
    """Compare the root that stands with a full tile of level 0 with that of its leaves, unless one of them is bad."""
    first = index * WIDTH + 1
    is_bad = any(first <= finding.sequence < first + WIDTH for finding in findings.rows)
    if stored is not None and stored.root != root and not is_bad:
        message = f"the tile 0/{index} was changed: its root does not fit"
        findings.add_place(first, message, root, stored.root)


class TreeVerifier:
    """The tree of one ledger as its tiles lead to it."""

    def __init__(
        self,
        shard: int,
        tiles: StoredTiles,
        stored: TreeHead,
        trusted: Iterable[TreeHead] = (),
        edges: Sequence[Sequence[bytes]] = (),
    ) -> None:
        """`stored` is the head that the database has, `trusted` what was signed or kept elsewhere.

        `edges` are the unfinished tiles, from level 1 upwards, before the first range that is verified.
        """
        self.shard = shard
        self.total_count = 0
        self.payload_count = 0
        self.findings = Findings()
        self.removed: list[RemovedEvents] = []
        self._tiles = tiles
        self._stored = stored
        self._trusted = sorted({*trusted}, key=attrgetter("size"))
        self._tree = _tree(edges)
        self.start = self._tree.size * WIDTH
        """Rows before the first one that is verified."""
        self.head = TreeHead(size=self.start, root=self._tree.root)
        self._checked = self.start  # the size of the newest head that the rows led to
        self._frontier = self._tree.frontier
        self._gap = (0, 0)
        self._missing: list[tuple[int, int]] = []  # gaps of the ranges that are compared now
        self._compare_at(self.start, [])

    @property
    def cuts(self) -> list[int]:
        """Sizes at which the tree is compared, and which the ranges therefore have to give."""
        return sorted({head.size for head in self._trusted} | {self._stored.size})

    async def add(self, result: RangeResult) -> None:
        """The next tiles."""
        self.total_count += result.total_count
        self.payload_count += result.payload_count
        self.removed += result.removed
        self._missing = [self._gap, *result.gaps]
        for first, count in result.gaps:
            self._add_gap(first, count)
        self.findings.extend(result.findings, result.bad_count)
        frontiers = sorted(result.frontiers.items())
        for root in result.roots:
            size = self._tree.size * WIDTH
            while frontiers and frontiers[0][0] < size + WIDTH:
                self._compare_at(*frontiers.pop(0))
            await self._extend(root)
            self._compare_at(size + WIDTH, [])
        for size, frontier in frontiers:
            self._compare_at(size, frontier)

    async def finish(self) -> None:
        """Name what is missing at the end, after the last range."""
        largest = max([self._stored, *self._trusted], key=attrgetter("size"))
        first, count = self._gap
        size = self._stored.size
        if count and first + count > size:
            size = first - 1
        else:
            self._name_gap()
        if size < largest.size:
            message = f"ledger truncated: the rows up to {largest.size} are missing"
            self.findings.add_place(size + 1, message, largest.root)

    def check_frontier(self, stored: bytes) -> None:
        """Compare the subtrees by which appends go on with those that the rows lead to."""
        if self.head.size == self._stored.size and not self.findings.rows and stored != self._frontier:
            message = "the stored frontier of the tree was changed: appends would go on from another tree"
            self.findings.add_place(self._stored.size, message, self._frontier[:HASH_SIZE], stored[:HASH_SIZE])

    def not_appended(self, sequence: int) -> None:
        """Rows from here on are not in the tree."""
        message = "the rows from here on have no leaf in the tree: they were not appended by this service"
        self.findings.add_place(sequence, message)

    async def _extend(self, root: bytes) -> None:
        for tile in self._tree.extend([root]):
            level = tile.level + 1
            stored = await self._tiles(level, tile.index)
            if stored is None or stored != (tile.hashes, tile.root):
                first = (tile.index << ((level + 1) * HEIGHT)) + 1
                self.findings.add_place(first, f"the tile {level}/{tile.index} is missing or was changed")

    def _add_gap(self, first: int, count: int) -> None:
        start, length = self._gap
        if length and start + length == first:
            self._gap = (start, length + count)
        else:
            self._name_gap()
            self._gap = (first, count)

    def _name_gap(self) -> None:
        first, count = self._gap
        if count:
            message = f"{count} rows are missing from here" if count > 1 else "the row is missing"
            self.findings.add_place(first, message)
        self._gap = (0, 0)

    def _compare_at(self, size: int, frontier: Sequence[bytes]) -> None:
        heads = [head for head in [*self._trusted, self._stored] if head.size == size]
        if not heads:
            return
        subtrees = [*_hashes(self._tree.frontier), *frontier]
        root = merkle.fold(subtrees) if subtrees else merkle.EMPTY_ROOT
        self.head = TreeHead(size=size, root=root)
        self._frontier = b"".join(subtrees)
        for head in heads:
            self._compare(head, root, "the stored head of the tree" if head is self._stored else "a signed checkpoint")

    def _compare(self, head: TreeHead, root: bytes, name: str) -> None:
        if head.root == root:
            self._checked = max(self._checked, head.size)
            return
        places = [(finding.sequence, 1) for finding in self.findings.rows] + self._missing
        if not any(first <= head.size and self._checked < first + count - 1 for first, count in places):
            checked = 0 if self._checked == head.size else self._checked
            message = f"the rows {checked + 1} to {head.size} were rewritten: they do not lead to {name}"
            self.findings.add_place(checked + 1, message, head.root, root)


def _tree(edges: Sequence[Sequence[bytes]]) -> Tree:
    """A tree over tile roots from its unfinished tiles."""
    size = sum(len(edge) << (level * HEIGHT) for level, edge in enumerate(edges))
    frontier: list[bytes] = []
    for edge in reversed(edges):
        of_level = Frontier()
        of_level.extend(edge)
        frontier += of_level.hashes
    return Tree(size, b"".join(frontier), edges)


def _hashes(frontier: bytes) -> list[bytes]:
    return [frontier[start : start + HASH_SIZE] for start in range(0, len(frontier), HASH_SIZE)]
