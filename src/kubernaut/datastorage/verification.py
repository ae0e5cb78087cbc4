"""Verifying a ledger row by row against its Merkle tree; pure.

A whole ledger is verified in one pass: each row against its payload and its own hashes, its leaf against the tile that
was stored when the leaf was appended, and the root over all leaves against the stored head and every trusted head that
the caller has. Where a row is wrong or gone, the stored leaf takes its place, so that one edit is one finding and the
rows behind it are still checked. Only where rows, tiles and head were all rewritten alike do they agree, and then a
trusted head of before does not.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from kubernaut.api.events import LedgerFinding
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.tiles import HEIGHT, WIDTH, split_hashes
from kubernaut.datastorage import chain
from kubernaut.datastorage.tree import Tree

MAX_FINDINGS = 100
"""Findings that one verification lists; counting goes on."""


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """One row of the ledger with the payload that stands in the database, if any."""

    row: chain.Row
    payload: chain.Event | None
    missing_reason: str = ""
    """Why there is no payload, where that is known."""
    is_removed: bool = False
    """A ledger event says that the payload was removed: no finding."""
    is_marked_wrong: bool = False
    """The row is marked as removed, but not by a ledger event that names it."""


@dataclass(kw_only=True)
class Findings:
    """What was found, the first of each row, and no more than MAX_FINDINGS."""

    rows: list[LedgerFinding] = field(default_factory=list)
    bad_count: int = 0
    """Rows that are there and wrong."""

    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=2 * WIDTH))

    def add(self, row: chain.Row, message: str, expected: bytes = b"", actual: bytes = b"") -> None:
        """A row that is there and wrong."""
        if row.sequence in self._recent:
            return  # one finding for one row is enough
        self._recent.append(row.sequence)
        self.bad_count += 1
        self._append(
            LedgerFinding(
                sequence=row.sequence,
                event_id=row.event_id,
                correlation_id=row.correlation_id,
                message=message,
                expected_hash=expected.hex(),
                actual_hash=actual.hex(),
            )
        )

    def add_place(self, sequence: int, message: str, expected: bytes = b"", actual: bytes = b"") -> None:
        """Something that belongs to no row that is there."""
        self._append(
            LedgerFinding(
                sequence=sequence,
                event_id=None,
                correlation_id=None,
                message=message,
                expected_hash=expected.hex(),
                actual_hash=actual.hex(),
            )
        )

    def _append(self, finding: LedgerFinding) -> None:
        if len(self.rows) < MAX_FINDINGS:
            self.rows.append(finding)

    def in_order(self) -> list[LedgerFinding]:
        """All of them in the order of the ledger."""
        return sorted(self.rows, key=attrgetter("sequence"))


class StoredTiles(Protocol):
    """Full tiles as they were stored; None where there is none."""

    async def __call__(self, level: int, index: int) -> bytes | None: ...


class LedgerVerifier:
    """One pass over the rows of one ledger in the order of their sequence."""

    def __init__(self, shard: int, tiles: StoredTiles, stored: TreeHead, trusted: Iterable[TreeHead] = ()) -> None:
        """`stored` is the head that the database has, `trusted` what was signed or kept elsewhere."""
        self.shard = shard
        self.tree = Tree()
        self.total_count = 0
        self.findings = Findings()
        self._tiles = tiles
        self._stored = stored
        self._trusted = sorted({*trusted}, key=attrgetter("size"))
        self._checked = 0  # the size of the newest head that the rows led to
        self._link = chain.ORIGIN
        self._pending: list[tuple[chain.Row | None, bytes | None]] = []  # rows whose leaves are not in the tree yet

    @property
    def sequence(self) -> int:
        """The last row that was seen, or found to be missing."""
        return self.tree.size + len(self._pending)

    async def check(self, stored: StoredRow) -> None:
        """Check the next row."""
        row = stored.row
        self.total_count += 1
        await self._skip_to(row.sequence)
        is_bad = not check_row(self.findings, stored)
        leaf = chain.leaf_hash(row)
        if row.format == 1:
            link = chain.link_hash(self._link, row)
            if link != row.link_hash:
                is_bad = True
                message = "the row does not follow the one before it: one of them was changed, moved or removed"
                self.findings.add(row, message, link, row.link_hash or b"")
            self._link = row.link_hash or b""
        await self._append(row, row.leaf_hash if is_bad and row.leaf_hash else leaf)

    async def unreadable(self, sequence: int, reason: str) -> None:
        """The next row, or its payload, cannot be read at all."""
        await self._skip_to(sequence)
        self.total_count += 1
        self.findings.bad_count += 1
        self.findings.add_place(sequence, f"the row cannot be read: {reason}")
        await self._append(None, None)

    async def finish(self) -> None:
        """Compare with the heads that the rows should have led to, after the last row."""
        await self._grow()
        largest = max([self._stored, *self._trusted], key=attrgetter("size"))
        if self.tree.size < largest.size:
            message = f"ledger truncated: the rows up to {largest.size} are missing"
            self.findings.add_place(self.tree.size + 1, message, largest.root)
        self._compare(self._stored, "the stored head of the tree")

    def not_appended(self, sequence: int) -> None:
        """Rows from here on are not in the tree."""
        message = "the rows from here on have no leaf in the tree: they were not appended by this service"
        self.findings.add_place(sequence, message)

    async def _skip_to(self, sequence: int) -> None:
        first = self.sequence + 1
        count = sequence - first
        if count > 0:
            message = f"{count} rows are missing from here" if count > 1 else "the row is missing"
            self.findings.add_place(first, message)
        for _ in range(count):
            await self._append(None, None)

    async def _append(self, row: chain.Row | None, leaf: bytes | None) -> None:
        self._pending.append((row, leaf))
        if (self.tree.size + len(self._pending)) % WIDTH == 0:
            await self._grow()

    async def _grow(self) -> None:
        """Move the pending leaves, of one tile at most, into the tree; compare with tiles and heads on the way."""
        index, first = divmod(self.tree.size, WIDTH)
        is_full = first + len(self._pending) == WIDTH
        content = await self._tiles(0, index) if is_full else None
        if is_full and content is None:
            self.findings.add_place(index * WIDTH + 1, f"the tile 0/{index} is missing")
        originals = split_hashes(content)[first:] if content else [None] * len(self._pending)
        leaves: list[bytes] = []
        for (row, leaf), original in zip(self._pending, originals, strict=True):
            if row is not None and original not in {None, leaf}:
                self.findings.add(row, "the row is not the one whose leaf is in the tree", original or b"", leaf or b"")
            leaves.append(original or leaf or bytes(32))
        self._pending = []
        end = self.tree.size + len(leaves)
        for size in sorted({head.size for head in self._trusted if self.tree.size < head.size < end} | {end}):
            step = size - self.tree.size
            full = self.tree.extend(leaves[:step])
            leaves = leaves[step:]
            for head in self._trusted:
                if head.size == size:
                    self._compare(head, "a signed checkpoint")
            for tile in full:
                if tile.level and await self._tiles(tile.level, tile.index) != tile.hashes:
                    first_row = (tile.index << ((tile.level + 1) * HEIGHT)) + 1
                    self.findings.add_place(first_row, f"the tile {tile.level}/{tile.index} is missing or was changed")

    def _compare(self, head: TreeHead, name: str) -> None:
        if head.size != self.tree.size:
            return
        root = self.tree.root
        if head.root == root:
            self._checked = max(self._checked, head.size)
        elif not any(self._checked < finding.sequence <= head.size for finding in self.findings.rows):
            message = f"the rows {self._checked + 1} to {head.size} were rewritten: they do not lead to {name}"
            self.findings.add_place(self._checked + 1, message, head.root, root)


class CorrelationVerifier:
    """One pass over the rows of one correlation; that they are in the tree is shown by proofs, which see `proven`."""

    def __init__(self, trusted_head: tuple[int, bytes] | None = None) -> None:
        """`trusted_head` is the sequence and event hash of a row, kept from an earlier verification."""
        self.sequence = 0
        self.event_hash = chain.ORIGIN
        self.total_count = 0
        self.findings = Findings()
        self._trusted_head = trusted_head
        self._found_hash: bytes | None = None

    def check(self, stored: StoredRow) -> None:
        """Check the next row."""
        row = stored.row
        self.total_count += 1
        check_row(self.findings, stored)
        if row.previous_event_hash != self.event_hash:
            message = "the row does not follow the one before it in its correlation"
            self.findings.add(row, message, self.event_hash, row.previous_event_hash)
        if self._trusted_head and row.sequence == self._trusted_head[0]:
            self._found_hash = row.event_hash
        self.sequence, self.event_hash = row.sequence, row.event_hash

    def unreadable(self, sequence: int, reason: str) -> None:
        """The next row, or its payload, cannot be read at all."""
        self.total_count += 1
        self.sequence = sequence
        self.findings.bad_count += 1
        self.findings.add_place(sequence, f"the row cannot be read: {reason}")

    def not_in_tree(self, row: chain.Row, reason: str) -> None:
        """The row has no proof of being in the tree."""
        self.findings.add(row, f"the row is not in the signed tree: {reason}")

    def not_provable(self, reason: str) -> None:
        """Rows cannot be proven, because something of the tree is missing."""
        message = f"rows cannot be proven: {reason}"
        if not any(finding.message == message for finding in self.findings.rows):
            self.findings.add_place(0, message)

    def finish(self) -> None:
        """Compare with the trusted head, after the last row."""
        if self._trusted_head is None or self._found_hash == self._trusted_head[1]:
            return
        sequence, expected = self._trusted_head
        if self._found_hash is not None:
            message = "the row has another hash than the trusted head: the ledger was rewritten"
        elif self.sequence < sequence:
            message = f"ledger truncated: the rows up to {sequence} are missing"
        else:
            message = "the row of the trusted head is missing"
        self.findings.add_place(sequence, message, expected, self._found_hash or b"")


def check_row(findings: Findings, stored: StoredRow) -> bool:
    """Compare a row with its payload and its own hashes; whether all fit."""
    row, payload = stored.row, stored.payload
    before = findings.bad_count
    if stored.is_marked_wrong:
        findings.add(row, stored.missing_reason, row.content_hash)
    elif payload is None and stored.is_removed:
        pass
    elif payload is None:
        message = stored.missing_reason or "the event is missing: its row in audit_events was deleted or moved"
        findings.add(row, message, row.content_hash)
    elif not chain.has_content(payload, row.content_hash):
        actual = chain.content_hash(payload)
        findings.add(row, "the event was changed after it was stored", row.content_hash, actual)
    event = chain.event_hash(row.previous_event_hash, row.content_hash)
    if event != row.event_hash:
        findings.add(row, "the row of the ledger was changed: its event hash does not fit", event, row.event_hash)
    if row.format != 1 and row.leaf_hash != (leaf := chain.leaf_hash(row)):
        findings.add(row, "the row of the ledger was changed: its leaf does not fit", row.leaf_hash or b"", leaf)
    return findings.bad_count == before
