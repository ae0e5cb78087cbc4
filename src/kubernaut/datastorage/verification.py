"""Verifying the hashes of a ledger row by row; pure.

The verifier holds the hashes that the next row must follow. After a bad row it continues with the hashes that the row
carries, so that one edit is one finding, plus one at the next row when the edit reached into the link.
"""

from dataclasses import dataclass, field
from operator import attrgetter

from kubernaut.api.events import LedgerFinding
from kubernaut.datastorage import chain

MAX_FINDINGS = 100
"""Findings that one verification lists; counting goes on."""


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """One row of the ledger with the payload that stands in the database, if any."""

    row: chain.Row
    payload: chain.Event | None


@dataclass(kw_only=True)
class Verifier:
    """One pass over rows in the order of their sequence."""

    is_whole_ledger: bool
    """The rows are a whole ledger, so sequences must follow each other; else they are one correlation."""

    shard: int = 0
    sequence: int = 0
    previous_link_hash: bytes = chain.ORIGIN
    previous_event_hash: bytes = chain.ORIGIN
    trusted_head: tuple[int, bytes] | None = None
    """A head that the caller kept from an earlier verification: sequence and hash."""

    found_hash: bytes | None = None
    """The hash found at that sequence."""

    total_count: int = 0
    bad_count: int = 0
    findings: list[LedgerFinding] = field(default_factory=list)

    def check(self, stored: StoredRow) -> None:
        """Check the next row."""
        row = stored.row
        self.total_count += 1
        found = len(self.findings)
        if self.is_whole_ledger and row.sequence != self.sequence + 1:
            self._add_missing(row)
        self._check_payload(stored)
        self._check_hashes(row)
        if len(self.findings) > found:
            self.bad_count += 1
        del self.findings[MAX_FINDINGS:]
        if self.trusted_head and row.sequence == self.trusted_head[0]:
            self.found_hash = row.link_hash if self.is_whole_ledger else row.event_hash
        self.shard, self.sequence, self.previous_link_hash, self.previous_event_hash = (
            row.shard,
            row.sequence,
            row.link_hash,
            row.event_hash,
        )

    @property
    def head(self) -> tuple[int, bytes]:
        """The last row that was checked, and its hash."""
        return self.sequence, self.previous_link_hash if self.is_whole_ledger else self.previous_event_hash

    def finish(self) -> None:
        """Compare with the trusted head, after the last row."""
        if self.trusted_head is None or self.found_hash == self.trusted_head[1]:
            return
        sequence, expected = self.trusted_head
        if self.found_hash is not None:
            message = "the row has another hash than the trusted head: the ledger was rewritten"
        elif self.sequence < sequence:
            message = f"the rows up to {sequence} are missing: the ledger was truncated"
            sequence = self.sequence + 1 if self.is_whole_ledger else sequence
        else:
            message = "the row of the trusted head is missing"
        actual = self.found_hash.hex() if self.found_hash else ""
        self.findings.append(
            LedgerFinding(
                sequence=sequence,
                event_id=None,
                correlation_id=None,
                message=message,
                expected_hash=expected.hex(),
                actual_hash=actual,
            )
        )
        self.findings.sort(key=attrgetter("sequence"))

    def _add_missing(self, row: chain.Row) -> None:
        first = self.sequence + 1
        count = row.sequence - first
        message = f"{count} rows are missing from here" if count > 1 else "the row is missing"
        self.findings.append(LedgerFinding(sequence=first, event_id=None, correlation_id=None, message=message))

    def _check_payload(self, stored: StoredRow) -> None:
        row, payload = stored.row, stored.payload
        if payload is None:
            self._add_finding(
                row, "the event is missing: its row in audit_events was deleted or moved", row.content_hash, b""
            )
            return
        actual = chain.content_hash(payload)
        if actual != row.content_hash:
            self._add_finding(row, "the event was changed after it was stored", row.content_hash, actual)

    def _check_hashes(self, row: chain.Row) -> None:
        event = chain.event_hash(row.previous_event_hash, row.content_hash)
        if event != row.event_hash:
            self._add_finding(
                row, "the row of the ledger was changed: its event hash does not fit", event, row.event_hash
            )
        elif not self.is_whole_ledger and row.previous_event_hash != self.previous_event_hash:
            message = "the row does not follow the one before it in its correlation"
            self._add_finding(row, message, self.previous_event_hash, row.previous_event_hash)
        elif self.is_whole_ledger:
            link = chain.link_hash(self.previous_link_hash, row)
            if link != row.link_hash:
                message = "the row does not follow the one before it: one of them was changed, moved or removed"
                self._add_finding(row, message, link, row.link_hash)

    def _add_finding(self, row: chain.Row, message: str, expected: bytes, actual: bytes) -> None:
        if any(finding.sequence == row.sequence for finding in self.findings[-1:]):
            return  # one finding for one row is enough
        self.findings.append(
            LedgerFinding(
                sequence=row.sequence,
                event_id=row.event_id,
                correlation_id=row.correlation_id,
                message=message,
                expected_hash=expected.hex(),
                actual_hash=actual.hex(),
            )
        )
