"""What a spool directory holds, found by reading it: nothing is changed, and no lock is needed.

`events-N.log` are the segments: records of events with rising numbers without gaps, N being the first. `state` says up
to where they are acked and committed. So the number of every event that cannot be read is known.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from kubernaut.audit.spool_record import OVERHEAD, Damage, Record, RecordKind, encode, encode_lost, scan
from kubernaut.audit.spool_state import SpoolState, read_state

SEGMENT_PREFIX, SEGMENT_SUFFIX = "events-", ".log"
STATE_NAME = "state"
QUARANTINE_NAME = "quarantine.log"
DAMAGED_PREFIX = "damaged-"


class Gap(NamedTuple):
    """Events that cannot be read, both ends included."""

    first: int
    last: int


class Quarantined(NamedTuple):
    """One event that the store rejected, and why."""

    event_id: bytes
    body: bytes
    reason: str
    quarantined_at: str

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD

    @property
    def key(self) -> tuple[bytes, int]:
        """What makes it the same as another one."""
        return self.event_id, zlib.crc32(self.body)


class _QuarantineHeader(msgspec.Struct):
    reason: str
    quarantined_at: str


@dataclass
class SegmentSurvey:
    """One segment."""

    path: Path
    number: int
    size: int
    expected: int
    """Number of the event with which it should go on after the segment before it."""

    last: int
    """Number of its last event."""

    damages: list[Damage] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def torn_at(self) -> int | None:
        """Where a write was cut off, when that is all that is wrong with it."""
        if len(self.damages) == 1 and not self.gaps and self.damages[0].end == self.size:
            return self.damages[0].start
        return None


@dataclass
class Survey:
    """A whole spool."""

    state: SpoolState | None
    acked: int
    last: int
    """Number of the newest event that was ever on disk, as far as anybody knows."""

    segments: list[SegmentSurvey] = field(default_factory=list)
    ids: dict[bytes, int] = field(default_factory=dict)
    """By id of each event that waits, the checksum of its body."""

    waiting: int = 0
    waiting_bytes: int = 0
    gaps: list[Gap] = field(default_factory=list)
    """Events that waited and cannot be read."""

    lost_before: int = 0
    """Events whose loss was found and counted earlier."""

    @property
    def lost(self) -> int:
        return sum(gap.last - gap.first + 1 for gap in self.gaps)

    @property
    def committed(self) -> int:
        return self.state.committed if self.state else 0


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{SEGMENT_PREFIX}{number:020}{SEGMENT_SUFFIX}"


def segment_paths(directory: Path) -> list[tuple[int, Path]]:
    """The segments, oldest first."""
    found = []
    for path in directory.glob(f"{SEGMENT_PREFIX}*{SEGMENT_SUFFIX}"):
        number = path.name.removeprefix(SEGMENT_PREFIX).removesuffix(SEGMENT_SUFFIX)
        if number.isdecimal() and path.is_file():
            found.append((int(number), path))
    return sorted(found)


def survey(directory: Path) -> Survey:
    """Read a spool. Raises OSError when a file exists and the system does not let us read it."""
    state, paths = read_state(directory / STATE_NAME), segment_paths(directory)
    # Without a state, nothing is known to be acked: sending again is harmless, the store keeps one of each id.
    acked = state.acked if state else paths[0][0] - 1 if paths else 0
    result = Survey(state, acked, acked)
    expected = acked + 1
    for number, path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # its last event was delivered meanwhile
            continue
        expected = _survey_segment(result, number, path, data, expected)
    if expected <= result.committed:
        gap = Gap(expected, result.committed)
        result.gaps.append(gap)
        if result.segments:
            result.segments[-1].gaps.append(gap)
            result.segments[-1].last = gap.last
        expected = gap.last + 1
    result.last = max(expected - 1, acked)
    return result


def _survey_segment(result: Survey, number: int, path: Path, data: bytes, expected: int) -> int:
    if number > expected:  # the segment before was cut, or is gone
        gap = Gap(expected, number - 1)
        result.gaps.append(gap)
        if result.segments:
            result.segments[-1].gaps.append(gap)
            result.segments[-1].last = gap.last
        else:
            result.acked = gap.last  # counted now, and not again
        expected = number
    segment = SegmentSurvey(path, number, len(data), expected, number - 1)
    for item in scan(data):
        if isinstance(item, Damage):
            segment.damages.append(item)
            continue
        segment.last = max(segment.last, item.seq)
        if item.seq < expected:
            continue
        if item.kind == RecordKind.LOST:
            result.lost_before += item.seq - max(expected, item.first_lost) + 1
        elif item.kind == RecordKind.EVENT:
            if item.seq > expected:
                gap = Gap(expected, item.seq - 1)
                result.gaps.append(gap)
                segment.gaps.append(gap)
            result.ids[item.event_id] = zlib.crc32(item.body)
            result.waiting += 1
            result.waiting_bytes += item.end - item.start
        expected = item.seq + 1
    result.segments.append(segment)
    return expected


def repaired(data: bytes, segment: SegmentSurvey) -> bytes:
    """The segment with all records that can be read, and one that names the events that cannot."""
    parts, expected = [], segment.expected
    for item in scan(data):
        if isinstance(item, Damage):
            continue
        if item.kind == RecordKind.EVENT and item.seq > expected:
            parts.append(encode_lost(expected, item.seq - 1))
        parts.append(data[item.start : item.end])
        expected = max(expected, item.seq + 1)
    if segment.gaps and segment.gaps[-1].last >= expected:
        parts.append(encode_lost(expected, segment.gaps[-1].last))
    return b"".join(parts)


def waiting_events(directory: Path) -> Iterator[Record]:
    """Every event that waits and can be read, oldest first."""
    state, paths = read_state(directory / STATE_NAME), segment_paths(directory)
    acked = state.acked if state else 0
    for _, path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        for item in scan(data):
            if isinstance(item, Record) and item.kind == RecordKind.EVENT and item.seq > acked:
                acked = item.seq
                yield item


@dataclass
class QuarantineSurvey:
    """The quarantine."""

    entries: list[Quarantined] = field(default_factory=list)
    lost: int = 0
    """Entries that cannot be read."""

    is_damaged: bool = False


def read_quarantine(directory: Path) -> QuarantineSurvey:
    """The events in quarantine, oldest first."""
    result, expected = QuarantineSurvey(), 1
    state = read_state(directory / STATE_NAME)
    try:
        data = (directory / QUARANTINE_NAME).read_bytes()
    except FileNotFoundError:
        data = b""
    for item in scan(data):
        if isinstance(item, Damage):
            result.is_damaged = True
            continue
        result.lost += max(0, item.seq - expected)
        expected = item.seq + 1
        header, _, body = item.body.partition(b"\n")
        entry = msgspec.json.decode(header, type=_QuarantineHeader)
        result.entries.append(Quarantined(item.event_id, body, entry.reason, entry.quarantined_at))
    if state is not None:
        result.lost += max(0, state.quarantined - expected + 1)
    return result


def encode_quarantine(entries: Sequence[Quarantined], number: int = 1) -> bytes:
    """The records of these entries, numbered from `number` on."""
    return b"".join(
        encode(RecordKind.QUARANTINED, index, entry.event_id, _quarantine_body(entry))
        for index, entry in enumerate(entries, number)
    )


def _quarantine_body(entry: Quarantined) -> bytes:
    return msgspec.json.encode(_QuarantineHeader(entry.reason, entry.quarantined_at)) + b"\n" + entry.body
