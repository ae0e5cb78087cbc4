"""Verifying rows: each with its payload and its own hashes, and the rows of one correlation; pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from kubernaut.api.events import LedgerFinding
from kubernaut.api.ledger.tiles import WIDTH
from kubernaut.datastorage import chain

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

    def extend(self, findings: Iterable[LedgerFinding], bad_count: int) -> None:
        """Those of another part of the ledger."""
        self.bad_count += bad_count
        for finding in findings:
            self._append(finding)

    def _append(self, finding: LedgerFinding) -> None:
        if len(self.rows) < MAX_FINDINGS:
            self.rows.append(finding)

    def in_order(self) -> list[LedgerFinding]:
        """All of them in the order of the ledger."""
        return sorted(self.rows, key=attrgetter("sequence"))


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
