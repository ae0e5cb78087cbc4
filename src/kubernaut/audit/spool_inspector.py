"""A spool directory from outside the process that uses it: what waits, what is in quarantine, what is damaged.

Reading works while a service has the spool open, and changes nothing. Replay and repair take the lock, and raise
SpoolLocked with the process that holds it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import msgspec

from kubernaut.api.events import AuditEvent
from kubernaut.audit.errors import SpoolError
from kubernaut.audit.spool import locked, owner
from kubernaut.audit.spool_file import SpoolFile
from kubernaut.audit.spool_state import read_state
from kubernaut.audit.spool_survey import (
    DAMAGED_PREFIX,
    STATE_NAME,
    Quarantined,
    read_quarantine,
    segment_paths,
    survey,
    waiting_events,
)
from kubernaut.ops.json_faults import JSON_FAULTS


@dataclass(frozen=True, kw_only=True)
class SpoolStatus:
    """A spool as it is now."""

    directory: str
    process: str | None
    """The process that has it open."""

    waiting: int
    waiting_bytes: int
    oldest: str | None
    """`event_timestamp` of the event that waits longest."""

    quarantined: int
    unreadable: int
    """Events that are damaged and not counted yet; opening the spool or `repair` moves them aside."""

    lost_before: int
    """Events that waited in the files that are there, and were found damaged earlier."""

    damaged_files: list[str]
    """Damaged files that were moved aside."""

    @property
    def is_sound(self) -> bool:
        return not (self.quarantined or self.unreadable or self.lost_before or self.damaged_files)


@dataclass(frozen=True, kw_only=True)
class SpoolEntry:
    """One event in the spool."""

    state: str
    """`waiting` or `quarantined`."""

    event_id: UUID
    event: msgspec.Raw | None
    """The event as JSON; None when it is none."""

    reason: str | None = None
    quarantined_at: str | None = None

    def decoded(self) -> AuditEvent | None:
        """The event, when it is one."""
        try:
            return msgspec.json.decode(self.event or b"", type=AuditEvent)
        except JSON_FAULTS:
            return None


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What was put behind the events that wait, and what stays in quarantine."""

    released: list[UUID]
    quarantined: int


@dataclass(frozen=True, kw_only=True)
class RepairResult:
    """What a repair found and did."""

    waiting: int
    quarantined: int
    unreadable: int
    moved: list[str]
    """Damaged files, under the names that they have now."""


def status(directory: Path) -> SpoolStatus:
    """What is in a spool."""
    _check(directory)
    found, quarantine = survey(directory), read_quarantine(directory)
    after = read_state(directory / STATE_NAME)
    # What was delivered while we read is not missing.
    acked = max(found.acked, after.acked if after else 0)
    unreadable = sum(gap.last - max(gap.first, acked + 1) + 1 for gap in found.gaps if gap.last > acked)
    oldest = next(entries(directory), None) if found.waiting else None
    event = oldest.decoded() if oldest is not None and oldest.state == "waiting" else None
    return SpoolStatus(
        directory=str(directory),
        process=owner(directory),
        waiting=found.waiting,
        waiting_bytes=found.waiting_bytes,
        oldest=event.event_timestamp.isoformat() if event else None,
        quarantined=len(quarantine.entries),
        unreadable=unreadable + quarantine.lost,
        lost_before=found.lost_before,
        damaged_files=sorted(path.name for path in directory.glob(f"{DAMAGED_PREFIX}*")),
    )


def entries(directory: Path) -> Iterator[SpoolEntry]:
    """Every event that can be read: those that wait, in order, then the quarantine."""
    _check(directory)
    for record in waiting_events(directory):
        yield SpoolEntry(state="waiting", event_id=UUID(bytes=record.event_id), event=_raw(record.body))
    for entry in read_quarantine(directory).entries:
        yield SpoolEntry(
            state="quarantined",
            event_id=UUID(bytes=entry.event_id),
            event=_raw(entry.body),
            reason=entry.reason,
            quarantined_at=entry.quarantined_at,
        )


def replay(directory: Path, event_ids: Collection[UUID] | None = None) -> ReplayResult:
    """Put events of the quarantine, or all, behind the events that wait; the next start of the service sends them.

    Events whose id waits with other content stay in quarantine.
    """
    _check(directory)
    with locked(directory):
        file = SpoolFile(directory)
        try:
            waiting = set(file.recovery.survey.ids)
            released: list[Quarantined] = []
            kept: list[Quarantined] = []
            for entry in file.recovery.quarantine.entries:
                is_chosen = event_ids is None or UUID(bytes=entry.event_id) in event_ids
                if is_chosen and entry.event_id not in waiting:
                    waiting.add(entry.event_id)
                    released.append(entry)
                else:
                    kept.append(entry)
            if released:
                file.release(released, kept)
        except OSError as error:
            raise SpoolError(f"{directory} cannot be written: {error.strerror}") from error
        finally:
            file.close()
    return ReplayResult(released=[UUID(bytes=entry.event_id) for entry in released], quarantined=len(kept))


def repair(directory: Path) -> RepairResult:
    """Move damaged files aside and keep what can be read of them, as opening the spool does."""
    _check(directory)
    with locked(directory):
        file = SpoolFile(directory)
        file.close()
    recovery = file.recovery
    return RepairResult(
        waiting=recovery.survey.waiting,
        quarantined=len(recovery.quarantine.entries),
        unreadable=recovery.lost,
        moved=[path.name for path in recovery.moved],
    )


def _check(directory: Path) -> None:
    if not (segment_paths(directory) or (directory / STATE_NAME).is_file()):
        raise SpoolError(f"{directory} is no spool")


def _raw(body: bytes) -> msgspec.Raw | None:
    try:
        msgspec.json.decode(body)
    except JSON_FAULTS:
        return None
    return msgspec.Raw(body)
