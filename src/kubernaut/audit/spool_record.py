"""One record of a spool file, on disk: a header with a checksum over everything, then the body.

    magic (4) · kind (1) · length of the body (4) · number (8) · event id (16) · CRC-32 (4) · body

Numbers are little-endian. The magic begins with two bytes that no UTF-8 text contains, so that a reader finds the next
record behind a damaged one. The checksum covers the body first and then the header's fields. Pure: no file is touched.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

MAGIC = b"\xff\xfeK\x02"
MAX_BODY_BYTES = 2**28

_FIELDS = struct.Struct("<BIQ16s")
_CRC = struct.Struct("<I")
_CRC_AT = len(MAGIC) + _FIELDS.size
OVERHEAD = _CRC_AT + _CRC.size
"""Bytes that an event takes beside its body."""


class RecordKind(IntEnum):
    """What a record says."""

    EVENT = 1
    """An event that waits: its number, its id and its JSON text."""

    LOST = 2
    """The events from the number in the id to the record's own number could not be read, and were counted."""

    QUARANTINED = 3
    """An event in quarantine: a line of JSON with reason and time, then its JSON text."""


class Record(NamedTuple):
    """A record whose checksum is right, and where it stands."""

    kind: int
    seq: int
    event_id: bytes
    body: bytes
    start: int
    end: int

    @property
    def first_lost(self) -> int:
        return int.from_bytes(self.event_id, "little")


class Damage(NamedTuple):
    """Bytes that are no record."""

    start: int
    end: int


def encode(kind: RecordKind, seq: int, event_id: bytes, body: bytes, body_crc: int | None = None) -> bytes:
    """The bytes of one record; `body_crc` saves computing `zlib.crc32(body)` again."""
    fields = _FIELDS.pack(kind, len(body), seq, event_id)
    crc = zlib.crc32(fields, zlib.crc32(body) if body_crc is None else body_crc)
    return b"".join((MAGIC, fields, _CRC.pack(crc), body))


def encode_lost(first: int, last: int) -> bytes:
    """The record that says that these events could not be read."""
    return encode(RecordKind.LOST, last, first.to_bytes(16, "little"), b"")


def decode(data: bytes, start: int) -> Record | None:
    """The record at that offset; None when there is none, or not all of it."""
    body_at = start + OVERHEAD
    if body_at > len(data) or not data.startswith(MAGIC, start):
        return None
    kind, length, seq, event_id = _FIELDS.unpack_from(data, start + len(MAGIC))
    end = body_at + length
    if end > len(data) or length > MAX_BODY_BYTES:
        return None
    body = data[body_at:end]
    if zlib.crc32(data[start + len(MAGIC) : start + _CRC_AT], zlib.crc32(body)) != _crc_at(data, start):
        return None
    return Record(kind, seq, event_id, body, start, end)


def missing_bytes(data: bytes, start: int) -> int:
    """How many more bytes than `data` has the record at that offset needs, as far as its header can be trusted."""
    body_at = start + OVERHEAD
    if body_at > len(data):
        return body_at - len(data)
    _, length, _, _ = _FIELDS.unpack_from(data, start + len(MAGIC))
    is_record = data.startswith(MAGIC, start) and length <= MAX_BODY_BYTES
    return max(0, body_at + length - len(data)) if is_record else 0


def scan(data: bytes, start: int = 0) -> Iterator[Record | Damage]:
    """Everything from that offset on: records, and the bytes between them that are none."""
    while start < len(data):
        record = decode(data, start)
        if record is None:
            found = _next_record(data, start + 1)
            yield Damage(start, found.start if found else len(data))
            if found is None:
                return
            record = found
        yield record
        start = record.end


def _next_record(data: bytes, start: int) -> Record | None:
    while (start := data.find(MAGIC, start)) >= 0:
        record = decode(data, start)
        if record is not None:
            return record
        start += 1
    return None


def _crc_at(data: bytes, start: int) -> int:
    (crc,) = _CRC.unpack_from(data, start + _CRC_AT)
    return int(crc)
