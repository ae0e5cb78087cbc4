"""Walking a ledger and naming what is wrong; pure.

The walk holds what the next row must follow. After a bad row it goes on with the hashes that the row carries, so that
one edit is one finding, plus one at the next row when the edit reached into the link.
"""

from dataclasses import dataclass, field
from operator import attrgetter

from kubernaut.api.events import Finding
from kubernaut.datastorage import chain

MOST_FINDINGS = 100
"""Findings that one verification lists; counting goes on."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One row of the ledger with the payload that stands in the database, if any."""

    row: chain.Row
    payload: chain.Event | None


@dataclass(kw_only=True)
class Walk:
    """One pass over rows in the order of their sequence."""

    whole: bool
    """The rows are a whole ledger, so sequences must follow each other; else they are one correlation."""

    shard: int = 0
    sequence: int = 0
    link: bytes = chain.ORIGIN
    event: bytes = chain.ORIGIN
    kept: tuple[int, bytes] | None = None
    """A head that the caller kept from before: sequence and hash."""

    seen: bytes | None = None
    """The hash found at that sequence."""

    total: int = 0
    bad: int = 0
    findings: list[Finding] = field(default_factory=list)

    def see(self, checked: Checked) -> None:
        """Check the next row."""
        row = checked.row
        self.total += 1
        found = len(self.findings)
        if self.whole and row.sequence != self.sequence + 1:
            self._missing(row)
        self._payload(checked)
        self._hashes(row)
        if len(self.findings) > found:
            self.bad += 1
        del self.findings[MOST_FINDINGS:]
        if self.kept and row.sequence == self.kept[0]:
            self.seen = row.link_hash if self.whole else row.event_hash
        self.shard, self.sequence, self.link, self.event = row.shard, row.sequence, row.link_hash, row.event_hash

    @property
    def head(self) -> tuple[int, bytes]:
        """The last row that was seen, and its hash."""
        return self.sequence, self.link if self.whole else self.event

    def end(self) -> None:
        """Compare with the kept head, after the last row."""
        if self.kept is None or self.seen == self.kept[1]:
            return
        sequence, expected = self.kept
        if self.seen is not None:
            message = "the row has another hash than the kept head: the ledger was rewritten"
        elif self.sequence < sequence:
            message = f"the rows up to {sequence} are missing: the tail was cut off"
            sequence = self.sequence + 1 if self.whole else sequence
        else:
            message = "the row of the kept head is missing"
        actual = self.seen.hex() if self.seen else ""
        self.findings.append(
            Finding(
                sequence=sequence,
                event_id=None,
                correlation_id=None,
                message=message,
                expected_hash=expected.hex(),
                actual_hash=actual,
            )
        )
        self.findings.sort(key=attrgetter("sequence"))

    def _missing(self, row: chain.Row) -> None:
        first = self.sequence + 1
        count = row.sequence - first
        message = f"{count} rows are missing from here" if count > 1 else "the row is missing"
        self.findings.append(Finding(sequence=first, event_id=None, correlation_id=None, message=message))

    def _payload(self, checked: Checked) -> None:
        row, payload = checked.row, checked.payload
        if payload is None:
            self._found(
                row, "the event is missing: its row in audit_events was deleted or moved", row.content_hash, b""
            )
            return
        actual = chain.content_hash(payload)
        if actual != row.content_hash:
            self._found(row, "the event was changed after it was stored", row.content_hash, actual)

    def _hashes(self, row: chain.Row) -> None:
        event = chain.event_hash(row.previous_event_hash, row.content_hash)
        if event != row.event_hash:
            self._found(row, "the row of the ledger was changed: its event hash does not fit", event, row.event_hash)
        elif not self.whole and row.previous_event_hash != self.event:
            message = "the row does not follow the one before it in its correlation"
            self._found(row, message, self.event, row.previous_event_hash)
        elif self.whole:
            link = chain.link_hash(self.link, row)
            if link != row.link_hash:
                message = "the row does not follow the one before it: one of them was changed, moved or removed"
                self._found(row, message, link, row.link_hash)

    def _found(self, row: chain.Row, message: str, expected: bytes, actual: bytes) -> None:
        if any(finding.sequence == row.sequence for finding in self.findings[-1:]):
            return  # one finding for one row is enough
        self.findings.append(
            Finding(
                sequence=row.sequence,
                event_id=row.event_id,
                correlation_id=row.correlation_id,
                message=message,
                expected_hash=expected.hex(),
                actual_hash=actual.hex(),
            )
        )
