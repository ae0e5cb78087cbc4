"""Making a signal's status say what should be said about it.

One reconcile runs through as many phases as need no waiting and writes once. The trail is recorded after the write and
derived from what the server stored, so it never tells of something that is not in the status. What an earlier process
may have written without recording it is recorded first.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec
import structlog

from kubernaut.api.events import AuditEvent
from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import EventReason, Phase
from kubernaut.audit.errors import AuditError
from kubernaut.kube.controller import RequeueAfter, Result, TransientError
from kubernaut.kube.errors import Conflict, NotFound
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing import trail
from kubernaut.signalprocessing.config import RecordedEvents
from kubernaut.signalprocessing.metrics import ProcessingMetrics
from kubernaut.signalprocessing.phases import RETRY, Notice, Phases

log = structlog.get_logger("reconciler")

TRIES = 5
"""How often a write is tried when somebody else writes at the same time."""


class Signals(Protocol):
    """The signals as they are, and the only place where they are written."""

    def known(self, key: Key) -> SignalProcessing | None:
        """The newest state that was heard of."""
        ...

    async def fresh(self, key: Key) -> SignalProcessing:
        """The state at the API server. Raises NotFound."""
        ...

    async def write(self, signal: SignalProcessing, change: dict[str, Any]) -> SignalProcessing:
        """Merge a change into the status and return what the server stored.

        Raises Conflict when `signal` is not the newest state.
        """
        ...


class Recorder(Protocol):
    """Where audit events go; takes them without waiting."""

    def record(self, events: Iterable[AuditEvent]) -> None: ...


Announce = Callable[[SignalProcessing, Notice], None]
"""Records a Kubernetes Event, without waiting."""


class Reconciler:
    """Reconciles signals by their key."""

    def __init__(
        self,
        signals: Signals,
        phases: Phases,
        recorder: Recorder,
        announce: Announce,
        metrics: ProcessingMetrics,
        *,
        events: RecordedEvents = RecordedEvents.OUTCOME,
    ) -> None:
        self._signals = signals
        self._phases = phases
        self._recorder = recorder
        self._announce = announce
        self._metrics = metrics
        self._events = events
        self._recorded: dict[Key, tuple[str, frozenset[UUID | None]]] = {}
        """Per signal its uid and the events that this process recorded of it."""

    async def reconcile(self, key: Key) -> Result:
        """Bring one signal as far as it gets."""
        signal = self._signals.known(key)
        if signal is None:
            self._recorded.pop(key, None)
            return None
        self._record(key, signal)
        if signal.metadata.deletion_timestamp is not None:
            return None
        if (wait := _still_waiting(signal)) is not None:
            return RequeueAfter(wait)
        status, notices, wait = await self._run(signal)
        if status == signal.status:
            return None
        stored = await self._write(key, signal, status)
        if stored is None:
            # Somebody else moved it on; its new state will be looked at next.
            return RequeueAfter(0.01)
        self._record(key, stored)
        self._tell(signal, stored, notices)
        return None if wait is None else RequeueAfter(_until(stored, wait))

    async def _run(self, signal: SignalProcessing) -> tuple[SignalStatus, list[Notice], float | None]:
        """As many phases as need no waiting."""
        notices: list[Notice] = []
        if signal.status.phase is not None and signal.status.phase.is_final:
            if signal.status.phase is Phase.FAILED and signal.status.completion_time is None:
                return self._phases.closed(signal).status, notices, None
            return signal.status, notices, None
        while True:
            phase = signal.status.phase or Phase.PENDING
            began = time.perf_counter()
            if signal.status.phase is not None:
                self._metrics.attempt(phase)
            outcome = await self._phases.advance(signal)
            notices += outcome.notices
            now = outcome.status.phase
            if outcome.wait is None and now is not Phase.FAILED and signal.status.phase is not None:
                self._metrics.succeeded(phase, time.perf_counter() - began if phase is not Phase.PENDING else None)
            elif now is Phase.FAILED:
                self._metrics.failed(phase)
            signal = msgspec.structs.replace(signal, status=outcome.status)
            if outcome.wait is not None or (now is not None and now.is_final):
                return outcome.status, notices, outcome.wait

    async def _write(self, key: Key, signal: SignalProcessing, status: SignalStatus) -> SignalProcessing | None:
        """The stored object; None when the signal is gone or its status is no longer the one we started from."""
        current = signal
        for _ in range(TRIES):
            try:
                stored = await self._signals.write(current, change_of(current.status, status))
            except NotFound:
                return None
            except Conflict:
                self._metrics.wrote("conflict")
                try:
                    current = await self._signals.fresh(key)
                except NotFound:
                    return None
                # What we found out holds for the status it was found out from, and for no other.
                if current.metadata.uid != signal.metadata.uid or current.status != signal.status:
                    log.info("signal was moved on by somebody else", signal=str(key), phase=current.status.phase)
                    return None
                continue
            self._metrics.wrote("success")
            return stored
        raise Conflict(f"{key}: somebody else writes all the time")

    def _record(self, key: Key, signal: SignalProcessing) -> None:
        """Hand on what was not handed on yet; the first time after a start that is everything."""
        events = trail.events_of(signal)
        uid, recorded = self._recorded.get(key, ("", frozenset()))
        if uid != signal.metadata.uid:
            recorded = frozenset()
        if not events or events[-1].event_id in recorded:
            return
        try:
            self._recorder.record([event for event in events if event.event_id not in recorded])
        except AuditError as error:  # the spool is full, or its disk is; the events are derived again
            raise TransientError(str(error)) from error
        # After the last event of a signal none follows, so that one id says it all.
        keep = events[-1:] if signal.status.completion_time else events
        self._recorded[key] = (signal.metadata.uid, frozenset(event.event_id for event in keep))

    def _tell(self, before: SignalProcessing, after: SignalProcessing, notices: list[Notice]) -> None:
        status = after.status
        log.info(
            "signal was processed" if status.phase and status.phase.is_final else "signal waits",
            signal=f"{after.metadata.namespace}/{after.metadata.name}",
            phase=status.phase,
            degraded=bool(status.kubernetes_context and status.kubernetes_context.degraded_mode),
            policy=status.signal_classification and status.signal_classification.policy_hash[:12],
        )
        if status.completion_time and status.start_time:
            took = (status.completion_time - status.start_time).total_seconds()
            if status.phase is Phase.COMPLETED:
                self._metrics.succeeded(Phase.COMPLETED, took)
            else:
                self._metrics.failed(Phase.COMPLETED)
        if self._events is RecordedEvents.ALL:
            for notice in _transitions(before.status, status):
                self._announce(after, notice)
        for notice in notices:
            outcome = notice.is_warning or notice.reason is EventReason.SIGNAL_PROCESSED
            if outcome or self._events is RecordedEvents.ALL:
                self._announce(after, notice)


def change_of(before: SignalStatus, after: SignalStatus) -> dict[str, Any]:
    """The merge patch that makes one status of the other; what the new one no longer has becomes null."""
    return _difference(msgspec.to_builtins(before), _encoded(after))


def _encoded(status: SignalStatus) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(status)
    return content


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    change: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                change[key] = inner
        elif value != old:
            change[key] = value
    return change


def _still_waiting(signal: SignalProcessing) -> float | None:
    """Seconds until a failed phase may be tried again; a write of our own wakes us earlier."""
    failure = signal.status.failure_info
    if signal.status.phase is None or signal.status.phase.is_final:
        return None
    if failure is None or not failure.consecutive_failures or failure.last_failure_time is None:
        return None
    due = failure.last_failure_time + timedelta(seconds=RETRY.delay(failure.consecutive_failures))
    wait = (due - datetime.now(UTC)).total_seconds()
    return _until(signal, wait) if wait > 0 and not _is_expired(signal) else None


def _is_expired(signal: SignalProcessing) -> bool:
    return signal.spec.times_out_at is not None and signal.spec.times_out_at < datetime.now(UTC)


def _until(signal: SignalProcessing, wait: float) -> float:
    """The wait, cut off just after the deadline."""
    if signal.spec.times_out_at is None:
        return wait
    left = (signal.spec.times_out_at - datetime.now(UTC)).total_seconds() + 0.005
    return max(0.0, min(wait, left))


def _transitions(before: SignalStatus, after: SignalStatus) -> list[Notice]:
    """One notice per move between named phases, as far as it succeeded."""
    way = trail.entered(after)
    start = way.index(before.phase) if before.phase in way else 0
    return [
        Notice(reason=EventReason.PHASE_TRANSITION, message=f"Phase transition: {old} → {new}")
        for old, new in zip(way[start:], way[start + 1 :], strict=False)
        if new is not Phase.FAILED
    ]
