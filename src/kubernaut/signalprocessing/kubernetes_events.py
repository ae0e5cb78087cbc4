"""The Kubernetes Events that `kubectl describe` shows about a signal, and which of them are recorded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import EventReason, Phase
from kubernaut.signalprocessing import audit_events
from kubernaut.signalprocessing.config import RecordedEvents


@dataclass(frozen=True, kw_only=True)
class KubernetesEvent:
    """An Event to record once the status is written."""

    reason: EventReason
    message: str
    is_warning: bool = False


def warning(reason: EventReason, message: str) -> KubernetesEvent:
    return KubernetesEvent(reason=reason, message=message, is_warning=True)


Record = Callable[[SignalProcessing, KubernetesEvent], None]
"""Records an Event without waiting."""


class EventPublisher:
    """Records the Events that the configuration asks for."""

    def __init__(self, record: Record, recorded: RecordedEvents = RecordedEvents.OUTCOME) -> None:
        self._record = record
        self._records_all = recorded is RecordedEvents.ALL

    def publish(self, before: SignalStatus, signal: SignalProcessing, events: Iterable[KubernetesEvent]) -> None:
        """Record what the phases reported, and each transition since `before` where all Events are wanted."""
        if self._records_all:
            for event in transitions(before, signal.status):
                self._record(signal, event)
        for event in events:
            if self._records_all or event.is_warning or event.reason is EventReason.SIGNAL_PROCESSED:
                self._record(signal, event)


def transitions(before: SignalStatus, after: SignalStatus) -> list[KubernetesEvent]:
    """One Event per transition between two named phases that succeeded."""
    phases = audit_events.entered_phases(after)
    start = phases.index(before.phase) if before.phase in phases else 0
    return [
        KubernetesEvent(reason=EventReason.PHASE_TRANSITION, message=f"Phase transition: {old} → {new}")
        for old, new in zip(phases[start:], phases[start + 1 :], strict=False)
        if new is not Phase.FAILED
    ]
