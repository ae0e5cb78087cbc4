"""Repair of a spool when it is opened: damaged files are moved aside, and what can be read of them goes on.

Opening never fails because of damage. What was cut off in the middle of a write, and hence acknowledged to nobody, is
removed without a word; everything else is logged and counted.
"""

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from kubernaut.audit.spool_survey import (
    DAMAGED_PREFIX,
    QUARANTINE_NAME,
    QuarantineSurvey,
    SegmentSurvey,
    Survey,
    encode_quarantine,
    read_quarantine,
    repaired,
    survey,
)

log = structlog.get_logger("audit-store")


@dataclass
class Recovery:
    """What was found and done."""

    survey: Survey
    quarantine: QuarantineSurvey
    acked: int
    lost: int
    """Events that cannot be read."""

    moved: list[Path] = field(default_factory=list)
    """Damaged files, under their new names."""


def recover(directory: Path) -> Recovery:
    """Survey and repair. Only for the process that holds the lock; raises OSError when files cannot be read."""
    found = survey(directory)
    quarantine = read_quarantine(directory)
    result = Recovery(found, quarantine, found.acked, found.lost + quarantine.lost)
    for segment in found.segments:
        is_last = segment is found.segments[-1]
        torn_at = segment.torn_at if is_last and found.state is not None else None
        if torn_at is not None:
            with contextlib.suppress(OSError):
                os.truncate(segment.path, torn_at)
        elif segment.damages or segment.gaps:
            _repair(result, segment)
    if not found.segments and found.lost:
        result.acked = found.last
    if quarantine.is_damaged or quarantine.lost:
        _repair_quarantine(result, directory)
    if result.lost or result.moved:
        log.error(
            "Audit spool damaged",
            path=str(directory),
            unreadable_count=result.lost,
            waiting=found.waiting,
            quarantined=len(quarantine.entries),
            moved=[path.name for path in result.moved],
        )
    return result


def _repair(result: Recovery, segment: SegmentSurvey) -> None:
    # On a disk that takes nothing, the damaged file stays, and its readers step over the damage.
    with contextlib.suppress(OSError):
        data = segment.path.read_bytes()
        moved = _keep(segment.path) if segment.damages else None
        replace_file(segment.path, repaired(data, segment))
        if moved:
            result.moved.append(moved)


def _repair_quarantine(result: Recovery, directory: Path) -> None:
    with contextlib.suppress(OSError):
        path = directory / QUARANTINE_NAME
        moved = _keep(path) if result.quarantine.lost and path.exists() else None
        replace_file(path, encode_quarantine(result.quarantine.entries))
        if moved:
            result.moved.append(moved)


def _keep(path: Path) -> Path:
    """Give a damaged file a second name, under which it stays."""
    kept = path.with_name(f"{DAMAGED_PREFIX}{time.time_ns()}-{path.name}")
    os.link(path, kept)
    return kept


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it has either content."""
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make new names and deletions survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
