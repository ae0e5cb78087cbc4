"""Three numbers beside the spool's segments: what is acked, what is on disk, and how many events are in quarantine.

The file has two slots that are written in turn, each with a checksum, so that a torn write costs one step at most. It
is written in place, which needs no free space. A state that cannot be read costs events sent twice, never lost ones.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

_SLOT = struct.Struct("<4sQQQQ")
_CRC = struct.Struct("<I")
_MAGIC = b"\xff\xfeS\x02"
_SLOT_OFFSETS = (0, 512)


class SpoolState(NamedTuple):
    """The newest state."""

    acked: int
    """DataStorage has every event up to this number, or it is in quarantine."""

    committed: int
    """Every event up to this number was on disk."""

    quarantined: int
    """So many events were in quarantine."""


class StateFile:
    """The file, open for writing by the process that holds the lock."""

    def __init__(self, path: Path) -> None:
        generations = [slot for slot in _slots(_read(path)) if slot is not None]
        self._generation = max((generation for generation, _ in generations), default=0)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            missing = 2 * _SLOT_OFFSETS[1] - os.fstat(self._fd).st_size
            if missing > 0:
                os.pwrite(self._fd, bytes(missing), 2 * _SLOT_OFFSETS[1] - missing)
        except OSError:
            os.close(self._fd)
            raise

    def write(self, state: SpoolState) -> None:
        """Replace the older slot; a killed process loses nothing of it, a power cut the last steps."""
        self._generation += 1
        slot = _SLOT.pack(_MAGIC, self._generation, *state)
        os.pwrite(self._fd, slot + _CRC.pack(zlib.crc32(slot)), _SLOT_OFFSETS[self._generation % 2])

    def sync(self) -> None:
        """Make the last write survive a power cut."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def read_state(path: Path) -> SpoolState | None:
    """The newest state that can be read, or None."""
    found = [slot for slot in _slots(_read(path)) if slot is not None]
    return max(found)[1] if found else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()[: 2 * _SLOT_OFFSETS[1]]
    except FileNotFoundError:
        return b""


def _slots(data: bytes) -> list[tuple[int, SpoolState] | None]:
    return [_slot(data[offset : offset + _SLOT.size + _CRC.size]) for offset in _SLOT_OFFSETS]


def _slot(data: bytes) -> tuple[int, SpoolState] | None:
    if len(data) < _SLOT.size + _CRC.size or not data.startswith(_MAGIC):
        return None
    _, generation, *numbers = _SLOT.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SLOT.size)
    return (generation, SpoolState(*numbers)) if zlib.crc32(data[: _SLOT.size]) == crc else None
