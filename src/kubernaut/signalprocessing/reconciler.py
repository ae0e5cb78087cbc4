"""Making the status of a signal what it should be.

One reconcile runs through as many phases as need no waiting and writes once. Audit events are recorded after the write
and derived from what the server stored, so they never tell of something that is not in the status. What an earlier
process may have written without recording it is recorded first.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
import structlog

from kubernaut.api.events import AuditEvent
from kubernaut.api.signals import FINALIZER, SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.audit.errors import AuditError
from kubernaut.kube.controller import RequeueAfter, Result, TransientError
from kubernaut.kube.errors import Conflict, NotFound
from kubernaut.kube.objects import Key, key_of
from kubernaut.ops import redaction
from kubernaut.signalprocessing import audit_events, edited_status
from kubernaut.signalprocessing.kubernetes_events import EventPublisher, KubernetesEvent
from kubernaut.signalprocessing.metrics import DecisionMetrics, ProcessingMetrics
from kubernaut.signalprocessing.phases import RETRY, PhaseResult, Phases

log = structlog.get_logger("reconciler")

MAX_WRITE_ATTEMPTS = 5
"""How often a status update is tried when another writer writes at the same time."""

CONFLICT_DELAY = 0.01  # seconds

FINALIZER_TIMEOUT = 60.0  # seconds
"""How long a deleted signal waits for DataStorage; its audit events are on the controller's disk by then."""

FINALIZER_INTERVAL = 0.5  # seconds


class SignalClient(Protocol):
    """Reads signals, and writes their status; nothing else writes them."""

    def get_cached(self, key: Key) -> SignalProcessing | None:
        """The newest state that the cache has observed."""
        ...

    async def get(self, key: Key) -> SignalProcessing:
        """The state at the API server. Raises NotFound."""
        ...

    async def patch_status(self, signal: SignalProcessing, patch: dict[str, Any]) -> SignalProcessing:
        """Merge a patch into the status and return what the server stored.

        Raises Conflict when `signal` is not the newest state.
        """
        ...

    async def add_finalizer(self, signal: SignalProcessing) -> None:
        """Raises Conflict when `signal` is not the newest state."""
        ...

    async def remove_finalizer(self, signal: SignalProcessing) -> None:
        """Raises Conflict when `signal` is not the newest state; nothing happens when it is gone."""
        ...


class AuditRecorder(Protocol):
    """Takes audit events without waiting, and knows which are on their way."""

    def record(self, events: Iterable[AuditEvent]) -> None: ...

    def is_acknowledged(self, event_ids: Iterable[UUID]) -> bool:
        """Whether DataStorage has every one of these events, as far as they were recorded before."""
        ...


class Reconciler:
    """Reconciles signals by their key."""

    def __init__(
        self,
        signals: SignalClient,
        phases: Phases,
        audit: AuditRecorder,
        events: EventPublisher,
        metrics: ProcessingMetrics,
        *,
        decisions: DecisionMetrics,
        adds_finalizer: bool = False,
    ) -> None:
        self._decisions = decisions
        self._adds_finalizer = adds_finalizer
        self._signals = signals
        self._phases = phases
        self._audit = audit
        self._events = events
        self._metrics = metrics
        self._recorded: dict[Key, tuple[str, frozenset[UUID | None]]] = {}
        """Per signal its uid and the ids of the audit events that this process recorded of it."""

    async def reconcile(self, key: Key) -> Result:
        """Bring one signal as far as it gets."""
        signal = self._signals.get_cached(key)
        if signal is None:
            self._recorded.pop(key, None)
            return None
        repaired = edited_status.repaired(signal)
        if repaired is signal.status:
            self._record(key, signal)
        else:
            log.warning("phase was edited", signal=str(key), phase=signal.status.phase, restored=repaired.phase)
        started = msgspec.structs.replace(signal, status=repaired)
        if signal.metadata.deletion_timestamp is not None:
            return await self._finalize(key, started)
        if self._adds_finalizer and not has_finalizer(signal) and not is_final(repaired):
            await self._signals.add_finalizer(signal)
            return RequeueAfter(0.0)
        if (delay := _remaining_backoff(started)) is not None:
            return RequeueAfter(delay)
        status, events, requeue_after = await self._advance(started)
        if status == signal.status:
            return None
        stored = await self._write(key, signal, status)
        if stored is None:
            # Another writer changed it; its new state will be reconciled next.
            return RequeueAfter(CONFLICT_DELAY)
        self._record(key, stored)
        self._report(stored)
        self._events.publish(signal.status, stored, events)
        return None if requeue_after is None else RequeueAfter(_until_deadline(stored, requeue_after))

    def is_acknowledged(self, signal: SignalProcessing) -> bool:
        """Whether this process has recorded all audit events of a signal, and DataStorage has acknowledged them."""
        uid, recorded = self._recorded.get(key_of(signal), ("", frozenset()))
        events = audit_events.events_of(signal)
        if not events:
            return True
        is_recorded = uid == signal.metadata.uid and events[-1].event_id in recorded
        return is_recorded and self._audit.is_acknowledged(event.event_id for event in events if event.event_id)

    async def _finalize(self, key: Key, signal: SignalProcessing) -> Result:
        """End a signal that is being deleted, and let it go once its audit events are safe."""
        if not has_finalizer(signal):
            return None
        if not is_final(signal.status):
            stored = await self._write(key, signal, self._phases.abandon(signal).status)
            if stored is None:
                return RequeueAfter(CONFLICT_DELAY)
            self._record(key, stored)
            self._report(stored)
            signal = stored
        deleted_at = signal.metadata.deletion_timestamp or datetime.now(UTC)
        has_waited = (datetime.now(UTC) - deleted_at).total_seconds() > FINALIZER_TIMEOUT
        if not has_waited and not self.is_acknowledged(signal):
            return RequeueAfter(FINALIZER_INTERVAL)
        await self._signals.remove_finalizer(signal)
        return None

    async def _advance(self, signal: SignalProcessing) -> tuple[SignalStatus, list[KubernetesEvent], float | None]:
        """The status after as many phases as need no waiting, the Events of all, and the delay when one must wait."""
        events: list[KubernetesEvent] = []
        if signal.status.phase is not None and signal.status.phase.is_final:
            if signal.status.phase is Phase.FAILED and signal.status.completion_time is None:
                return self._phases.complete_failure(signal).status, events, None
            return signal.status, events, None
        while True:
            phase = signal.status.phase
            if phase is not None:
                self._metrics.attempt(phase)
            start = time.perf_counter()
            result = await self._phases.advance(signal)
            self._observe(signal, result, time.perf_counter() - start)
            events += result.events
            signal = msgspec.structs.replace(signal, status=result.status)
            if result.requeue_after is not None or (signal.status.phase and signal.status.phase.is_final):
                return result.status, events, result.requeue_after

    def _observe(self, signal: SignalProcessing, result: PhaseResult, seconds: float) -> None:
        """Count and log what one phase came to."""
        phase = signal.status.phase
        if result.enrichment_error:
            self._metrics.enrichment_failed(result.enrichment_error)
        if result.requeue_after is not None or result.status.phase is Phase.FAILED:
            self._metrics.failed(phase or Phase.PENDING)
        elif phase is not None:
            self._metrics.succeeded(phase, seconds if phase is not Phase.PENDING else None)
        if failures := result.rule_failures:
            log.warning(
                "policy rule failed, using its fallback",
                signal=str(key_of(signal)),
                rules=",".join(failure.rule for failure in failures),
                error=redaction.redact(failures[0].message),
            )
        for warning in result.warnings:
            log.warning("custom label rejected or truncated", signal=str(key_of(signal)), reason=warning)

    async def _write(self, key: Key, signal: SignalProcessing, status: SignalStatus) -> SignalProcessing | None:
        """The stored object; None when the signal is gone or its status is no longer the one we started from."""
        current = signal
        for _ in range(MAX_WRITE_ATTEMPTS):
            try:
                stored = await self._signals.patch_status(current, merge_patch(current.status, status))
            except NotFound:
                return None
            except Conflict:
                self._metrics.wrote("conflict")
                try:
                    current = await self._signals.get(key)
                except NotFound:
                    return None
                # The new status was derived from the old one, and holds for no other.
                if current.metadata.uid != signal.metadata.uid or current.status != signal.status:
                    log.info("status changed by another writer", signal=str(key), phase=current.status.phase)
                    return None
                continue
            self._metrics.wrote("success")
            return stored
        raise Conflict(f"{key}: status update still conflicts after {MAX_WRITE_ATTEMPTS} attempts")

    def _record(self, key: Key, signal: SignalProcessing) -> None:
        """Record the audit events that this process has not recorded yet; after a start that is all of them."""
        events = audit_events.events_of(signal)
        uid, recorded = self._recorded.get(key, ("", frozenset()))
        if uid != signal.metadata.uid:
            recorded = frozenset()
        if not events or events[-1].event_id in recorded:
            return
        try:
            self._audit.record([event for event in events if event.event_id not in recorded])
        except AuditError as error:  # the spool is full, or its disk is; the events are derived again
            raise TransientError(str(error)) from error
        # No event follows the last one of a final signal, so that its id stands for all.
        keep = events[-1:] if signal.status.completion_time else events
        self._recorded[key] = (signal.metadata.uid, frozenset(event.event_id for event in keep))

    def _report(self, signal: SignalProcessing) -> None:
        """Log the status that was written, and count the signal when it is final."""
        status = signal.status
        is_final = status.phase is not None and status.phase.is_final
        log.info(
            "signal processed" if is_final else "signal retry scheduled",
            signal=str(key_of(signal)),
            phase=status.phase,
            degraded=bool(status.kubernetes_context and status.kubernetes_context.degraded_mode),
            policy=status.signal_classification and status.signal_classification.policy_hash[:12],
        )
        if status.completion_time and status.start_time:
            seconds = max(0.0, (status.completion_time - status.start_time).total_seconds())
            if status.phase is Phase.COMPLETED:
                self._metrics.succeeded(Phase.COMPLETED, seconds)
            else:
                self._metrics.failed(Phase.COMPLETED)
            self._decisions.ended(signal)


def has_finalizer(signal: SignalProcessing) -> bool:
    return FINALIZER in signal.metadata.finalizers


def is_final(status: SignalStatus) -> bool:
    return status.phase is not None and status.phase.is_final and status.completion_time is not None


def merge_patch(before: SignalStatus, after: SignalStatus) -> dict[str, Any]:
    """The merge patch that makes one status of the other; what the new one no longer has becomes null."""
    return _difference(msgspec.to_builtins(before), msgspec.to_builtins(after))


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch


def _remaining_backoff(signal: SignalProcessing) -> float | None:
    """Seconds until a failed phase may be retried; our own write triggers a reconcile earlier than that."""
    failure = signal.status.failure_info
    if signal.status.phase is None or signal.status.phase.is_final:
        return None
    if failure is None or not failure.consecutive_failures or failure.last_failure_time is None:
        return None
    elapsed = (datetime.now(UTC) - failure.last_failure_time).total_seconds()
    delay = RETRY.delay(failure.consecutive_failures) - elapsed
    if elapsed < -RETRY.max_delay:
        return None  # nobody has failed in the future: the status was edited
    return _until_deadline(signal, delay) if delay > 0 and not _is_expired(signal) else None


def _is_expired(signal: SignalProcessing) -> bool:
    return signal.spec.times_out_at is not None and signal.spec.times_out_at < datetime.now(UTC)


def _until_deadline(signal: SignalProcessing, delay: float) -> float:
    """The delay, or less when the signal's deadline comes first."""
    if signal.spec.times_out_at is None:
        return delay
    remaining = (signal.spec.times_out_at - datetime.now(UTC)).total_seconds() + 0.005
    return max(0.0, min(delay, remaining))
