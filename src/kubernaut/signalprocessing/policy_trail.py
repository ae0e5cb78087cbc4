"""What is told of each version of the policy: audit events with its text, and a Kubernetes Event."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import uuid4

import msgspec
import structlog

from kubernaut.api import limits
from kubernaut.api.events import AuditEvent
from kubernaut.api.policies import MAX_PART_CHARS, PolicyFile, PolicyPayload, correlation_of
from kubernaut.api.vocabulary import EventOutcome, EventReason, EventType
from kubernaut.audit.errors import AuditError
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.audit_events import ACTOR, CATEGORY
from kubernaut.signalprocessing.kubernetes_events import KubernetesEvent, warning
from kubernaut.signalprocessing.policy.changes import ChangeReason, Difference, PolicyChange, difference
from kubernaut.signalprocessing.policy.live import LivePolicy
from kubernaut.signalprocessing.policy.sources import Sources
from kubernaut.signalprocessing.reconciler import AuditRecorder

log = structlog.get_logger("policy")

RETRY_INTERVAL = 5.0  # seconds, while the spool takes no events
UNKNOWN_AUTHOR = "unknown"
_HASH_CHARS = 12


def events_of(change: PolicyChange, told: Difference, now: datetime, *, replica: str, name: str) -> list[AuditEvent]:
    """The audit events about a change: one, or as many as its text needs; `name` is that of the ConfigMap."""
    is_rejected = change.error is not None
    event_type = EventType.POLICY_REJECTED if is_rejected else EventType.POLICY_LOADED
    parts = list(_parts(change.sources)) if change.sources else [[]]
    error = limits.truncate(str(change.error), limits.MAX_PAYLOAD_TEXT) if change.error else None
    events = []
    for number, files in enumerate(parts, start=1):
        payload = PolicyPayload(
            event_type=event_type,
            policy_hash=change.hash,
            form=change.sources.form if change.sources else "",
            reason=change.reason,
            previous_policy_hash=change.before.hash if change.before else None,
            change=limits.truncate(told.summary, limits.MAX_PAYLOAD_TEXT),
            diff=told.diff if number == 1 else "",
            error=error,
            changed_by=UNKNOWN_AUTHOR,
            replica=replica,
            files=files,
            part=number,
            parts=len(parts),
        )
        event = AuditEvent(
            event_id=uuid4(),
            event_type=event_type,
            event_timestamp=now,
            event_category=CATEGORY,
            event_action="policy_rejected" if is_rejected else "policy_loaded",
            event_outcome=EventOutcome.FAILURE if is_rejected else EventOutcome.SUCCESS,
            actor_type="service",
            actor_id=ACTOR,
            resource_type="ConfigMap",
            resource_id=name,
            resource_name=name,
            correlation_id=correlation_of(change.hash),
            error_message=error,
            retention_days=limits.MAX_RETENTION_DAYS,
            event_data=msgspec.Raw(msgspec.json.encode(payload)),
        )
        events.append(event)
    return events


def kubernetes_event(change: PolicyChange, told: Difference) -> KubernetesEvent:
    """The Event about a change."""
    in_force = change.before.hash[:_HASH_CHARS] if change.before else ""
    if change.error is not None:
        text = f"policy {change.hash[:_HASH_CHARS] or '(unreadable)'} rejected: {change.error}; "
        text += f"{in_force} stays in force" if in_force else "there is no other version"
        return warning(EventReason.POLICY_REJECTED, text)
    new = change.hash[:_HASH_CHARS]
    if change.reason is ChangeReason.LAST_KNOWN_GOOD:
        return warning(EventReason.POLICY_LOADED, f"the last known good policy {new} decides")
    text = {
        ChangeReason.START: f"policy {new} decides",
        ChangeReason.RESTORED: f"the files hold policy {new} again, which decides",
    }.get(change.reason, f"policy {new} decides instead of {in_force} ({told.summary or 'the same lines'})")
    return KubernetesEvent(reason=EventReason.POLICY_LOADED, message=text)


class PolicyTrail:
    """Tells of every change of the policy, in order; made by `open_policy_trail`."""

    def __init__(
        self,
        policy: LivePolicy,
        audit: AuditRecorder,
        record: Callable[[KubernetesEvent], None],
        *,
        replica: str,
        name: str,
    ) -> None:
        self._policy = policy
        self._audit = audit
        self._record = record
        self._replica = replica
        self._name = name

    async def run(self) -> None:
        """Tell of each change as it comes, until cancelled."""
        while True:
            change, at = await self._policy.changes.get()
            told = await asyncio.to_thread(difference, change.before, change.sources)
            self._record(kubernetes_event(change, told))
            await self._append(events_of(change, told, at, replica=self._replica, name=self._name))
            self._policy.changes.task_done()

    async def _append(self, events: list[AuditEvent]) -> None:
        """Into the spool, as soon as it takes events."""
        while True:
            try:
                self._audit.record(events)
            except AuditError as error:
                log.warning("policy change not recorded yet, retrying", error=str(error))
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                return


@asynccontextmanager
async def open_policy_trail(trail: PolicyTrail) -> AsyncIterator[None]:
    """Tell of changes while the block runs."""
    async with background(trail.run(), name="policy-trail"):
        yield


def _parts(version: Sources) -> Iterator[list[PolicyFile]]:
    """The files in pieces, as many in one event as it may hold."""
    pieces: list[PolicyFile] = []
    room = MAX_PART_CHARS
    for name, text in version.files:
        start = 0
        while start < len(text) or not text:
            piece = text[start : start + room]
            pieces.append(PolicyFile(name=name, text=piece))
            start += len(piece)
            room -= len(piece)
            if room <= 0:
                yield pieces
                pieces, room = [], MAX_PART_CHARS
            if start >= len(text):
                break
    if pieces:
        yield pieces
