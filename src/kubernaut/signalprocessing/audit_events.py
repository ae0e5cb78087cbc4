"""The audit events that a signal should have left so far, derived from the object alone.

A function of the object: the same object gives the same events to the byte, with the same ids, whenever and wherever it
is called. So after a crash all events are derived and recorded again, and the store keeps one of each. An event uses
only fields that are final once the event has happened; else the same event would have another content later on. Where a
client that keeps whole seconds has written the status back, that content is lost; such events say `if_absent`, so the
store keeps the first of each, and takes what it does not know.

The status holds when each phase was entered: `startTime` for Pending and Enriching, the transition time of a condition
that became true for the phase that follows it, `completionTime` for the end.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import msgspec

from kubernaut.api import limits
from kubernaut.api.events import ABSENT, AuditEvent, SignalPayload
from kubernaut.api.meta import Condition, ConditionStatus, is_truncated
from kubernaut.api.signals import KIND, SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import (
    AUDIT_ENVIRONMENT_SOURCES,
    AUDIT_PRIORITY_SOURCES,
    AUDIT_VALUES,
    ConditionType,
    EventOutcome,
    EventType,
    Phase,
    SeveritySource,
)
from kubernaut.signalprocessing import facts

CATEGORY = "signalprocessing"
ACTOR = "signalprocessing-controller"

_IDS = UUID("8d1a2c0e-6b1f-5f0f-9a53-0d0f6a1b7c11")
MAX_CLOCK_DIFFERENCE = 86_400.0  # seconds
MAX_LIFE = 30 * 86_400.0  # seconds
_encoder = msgspec.json.Encoder()

_ACTIONS = {
    EventType.PHASE_TRANSITION: "phase_transition",
    EventType.ENRICHMENT_COMPLETED: "enrichment",
    EventType.CLASSIFICATION_DECISION: "classification",
    EventType.BUSINESS_CLASSIFIED: "classification",
    EventType.SIGNAL_PROCESSED: "processed",
    EventType.ERROR_OCCURRED: "error",
}


def events_of(signal: SignalProcessing) -> list[AuditEvent]:
    """Every event of the signal up to its present state, in causal order; none without a correlation id."""
    if not signal.spec.remediation_request_ref.name or signal.status.phase is None:
        return []
    return list(_SignalEvents(signal).derive())


def entered_phases(status: SignalStatus) -> list[Phase]:
    """The phases that the signal has entered, in order; the last one is where it stands."""
    if status.phase is None:
        return []
    order = [Phase.PENDING, Phase.ENRICHING, Phase.CLASSIFYING, Phase.CATEGORIZING, Phase.COMPLETED]
    if status.phase is not Phase.FAILED:
        return order[: order.index(status.phase) + 1]
    reached = 0
    if status.start_time:
        reached = 1
    if status.condition(ConditionType.ENRICHMENT):
        reached = 2
    if is_true(status.condition(ConditionType.ENRICHMENT)):
        reached = 3
    if is_true(status.condition(ConditionType.CLASSIFICATION)):
        reached = 4
    return [*order[:reached], Phase.FAILED]


def is_true(condition: Condition | None) -> bool:
    return condition is not None and condition.status is ConditionStatus.TRUE


class _SignalEvents:
    """The events of one state of one signal."""

    def __init__(self, signal: SignalProcessing) -> None:
        self._signal = signal
        self._spec = signal.spec.signal
        self._status = signal.status
        self._phases = entered_phases(signal.status)
        self._is_rewritten = any(map(is_truncated, _times(signal.status)))

    def derive(self) -> Iterator[AuditEvent]:
        """In causal order: the results of a phase come before the transition that ends it."""
        before = ""
        for phase in self._phases:
            if phase.is_final and self._status.completion_time is None:
                # Another writer set the phase without the time; the end is recorded once the status has it.
                return
            yield from self._results(before, phase)
            yield self._transition(before, phase)
            before = phase
        yield from self._current(Phase(before))

    def _results(self, before: str, phase: Phase) -> Iterator[AuditEvent]:
        if phase is Phase.FAILED:
            yield self._error(Phase(before or Phase.PENDING), "final", self._entered_at(phase))
        elif before == Phase.ENRICHING:
            yield self._enriched()
        elif before == Phase.CLASSIFYING:
            yield self._decided()
        elif before == Phase.CATEGORIZING and self._status.business_classification:
            yield self._categorized()

    def _current(self, phase: Phase) -> Iterator[AuditEvent]:
        failure = self._status.failure_info
        if phase.is_final:
            yield self._processed(phase)
        elif failure and failure.consecutive_failures and failure.last_failure_time:
            yield self._error(phase, str(failure.consecutive_failures), failure.last_failure_time)

    def _entered_at(self, phase: Phase) -> datetime:
        """When the phase was entered."""
        status = self._status
        entered: datetime | None = status.start_time
        if phase.is_final:
            entered = status.completion_time
        elif phase is Phase.CLASSIFYING:
            entered = _transition_time(status, ConditionType.ENRICHMENT)
        elif phase is Phase.CATEGORIZING:
            entered = _transition_time(status, ConditionType.CLASSIFICATION)
        created = self._signal.metadata.creation_timestamp
        return self._plausible(entered or status.start_time or created or self._spec.received_time)

    def _transition(self, before: str, phase: Phase) -> AuditEvent:
        payload = self._payload(EventType.PHASE_TRANSITION, phase, from_phase=before, to_phase=phase)
        outcome = EventOutcome.FAILURE if phase is Phase.FAILED else EventOutcome.SUCCESS
        return self._event(payload, f"{before}→{phase}", self._entered_at(phase), outcome)

    def _enriched(self) -> AuditEvent:
        context = self._status.kubernetes_context
        chain = context.owner_chain if context else []
        kinds = {owner.kind for owner in chain}
        if context and context.workload:
            kinds.add(context.workload.kind)
        payload = self._payload(
            EventType.ENRICHMENT_COMPLETED,
            Phase.ENRICHING,
            has_namespace=bool(context and context.namespace),
            has_pod="Pod" in kinds,
            has_deployment="Deployment" in kinds,
            owner_chain_length=len(chain),
            degraded_mode=bool(context and context.degraded_mode),
            duration_ms=_milliseconds(self._entered_at(Phase.CLASSIFYING) - self._entered_at(Phase.ENRICHING)),
        )
        return self._event(payload, "enrichment", self._entered_at(Phase.CLASSIFYING))

    def _decided(self) -> AuditEvent:
        classification = self._status.signal_classification
        source = (classification and classification.severity_source) or SeveritySource.REGO
        payload = self._payload(
            EventType.CLASSIFICATION_DECISION,
            Phase.CLASSIFYING,
            external_severity=self._spec.severity,
            normalized_severity=classification and classification.severity,
            determination_source=source,
            decided_severity_source=source,
            policy_hash=(classification and classification.policy_hash) or None,
            duration_ms=_milliseconds(self._entered_at(Phase.CATEGORIZING) - self._entered_at(Phase.CLASSIFYING)),
            **self._classification(),
        )
        payload = msgspec.structs.replace(payload, facts=facts.recorded(self._signal) or ABSENT)
        return self._event(payload, "classification", self._entered_at(Phase.CATEGORIZING))

    def _categorized(self) -> AuditEvent:
        at = _transition_time(self._status, ConditionType.CATEGORIZATION) or self._entered_at(Phase.COMPLETED)
        severity = self._classification().get("severity")
        payload = self._payload(
            EventType.BUSINESS_CLASSIFIED, Phase.CATEGORIZING, severity=severity, **self._business()
        )
        return self._event(payload, "business", at)

    def _processed(self, phase: Phase) -> AuditEvent:
        context = self._status.kubernetes_context
        chain = context.owner_chain if context else []
        failure = self._status.failure_info
        payload = self._payload(
            EventType.SIGNAL_PROCESSED,
            phase,
            has_owner_chain=bool(chain),
            owner_chain_length=len(chain),
            degraded_mode=bool(context and context.degraded_mode),
            duration_ms=_milliseconds(self._entered_at(phase) - self._entered_at(Phase.PENDING)),
            error=(failure and failure.error) or None,
            **self._classification(),
            **self._business(),
        )
        if phase is Phase.FAILED:
            # An id of its own: a parent may fail a signal that had completed, and both have happened.
            return self._event(payload, "processed/Failed", self._entered_at(phase), EventOutcome.FAILURE)
        return self._event(payload, "processed", self._entered_at(phase))

    def _error(self, phase: Phase, which: str, at: datetime) -> AuditEvent:
        failure = self._status.failure_info
        payload = self._payload(
            EventType.ERROR_OCCURRED,
            phase,
            error=(failure and failure.error) or "no reason was given",
            attempt=(failure and failure.consecutive_failures) or None,
        )
        return self._event(payload, f"error/{which}", at, EventOutcome.FAILURE)

    def _classification(self) -> dict[str, str | None]:
        """Severity, mode, environment and priority as the audit log spells them."""
        fields: dict[str, str | None] = {}
        if classification := self._status.signal_classification:
            fields["severity"] = classification.severity
            fields["signal_mode"] = classification.signal_mode
            fields["source_signal_name"] = classification.source_signal_name or None
        if environment := self._status.environment_classification:
            fields["environment"] = fields["decided_environment"] = environment.environment.lower()
            fields["environment_source"] = AUDIT_ENVIRONMENT_SOURCES.get(environment.source, "rego")
            fields["decided_environment_source"] = environment.source or None
        if priority := self._status.priority_assignment:
            fields["priority"] = fields["decided_priority"] = priority.priority
            fields["priority_source"] = AUDIT_PRIORITY_SOURCES.get(priority.source, "rego")
            fields["decided_priority_source"] = priority.source or None
            fields["policy_name"] = priority.policy_name or None
        return fields

    def _business(self) -> dict[str, str | None]:
        business = self._status.business_classification
        if business is None:
            return {}
        criticality = business.criticality and business.criticality.lower()
        return {
            "business_unit": business.business_unit or None,
            "criticality": criticality,
            "decided_criticality": criticality,
            "sla_requirement": business.sla_requirement and business.sla_requirement.lower(),
        }

    def _payload(self, event_type: EventType, phase: Phase, **more: object) -> SignalPayload:
        present = {
            key: value
            for key, value in more.items()
            if value is not None and (key not in AUDIT_VALUES or value in AUDIT_VALUES[key])
        }
        content = {
            "event_type": event_type,
            "phase": phase,
            "signal": self._spec.name,
            "signalprocessing_name": self._signal.metadata.name,
            "signalprocessing_namespace": self._signal.metadata.namespace,
            **present,
        }
        return limits.truncate_payload(msgspec.convert(content, type=SignalPayload))

    def _plausible(self, at: datetime) -> datetime:
        """The time, or when the signal was created where a status edited by hand has one outside of its life."""
        created = self._signal.metadata.creation_timestamp
        if created is None:
            return at
        span = (at - created).total_seconds()
        return at if -MAX_CLOCK_DIFFERENCE <= span <= MAX_LIFE else created

    def _event(
        self, payload: SignalPayload, transition: str, at: datetime, outcome: EventOutcome = EventOutcome.SUCCESS
    ) -> AuditEvent:
        metadata = self._signal.metadata
        target = self._spec.target_resource
        # Without a target the event is about the signal itself.
        kind, name = (target.kind, target.name) if target.name else (KIND, metadata.name)
        namespace = target.namespace if target.name else metadata.namespace
        return AuditEvent(
            event_id=uuid5(_IDS, f"{metadata.uid}/{payload.event_type}/{transition}"),
            event_type=payload.event_type,
            event_timestamp=self._plausible(at),
            event_category=CATEGORY,
            event_action=_ACTIONS[payload.event_type],
            event_outcome=outcome,
            actor_type="service",
            actor_id=ACTOR,
            resource_type=limits.truncate(kind, limits.MAX_RESOURCE_TYPE),
            resource_id=limits.truncate(name, limits.MAX_RESOURCE_ID),
            resource_name=limits.truncate(name, limits.MAX_RESOURCE_NAME),
            correlation_id=self._signal.spec.remediation_request_ref.name,
            namespace=limits.truncate(namespace, limits.MAX_NAMESPACE) or None,
            cluster_id=limits.truncate(self._spec.cluster_id, limits.MAX_CLUSTER_ID) or None,
            severity=payload.severity,
            duration_ms=payload.duration_ms,
            error_message=payload.error,
            event_data=msgspec.Raw(_encoder.encode(payload)),
            if_absent=self._is_rewritten or None,
        )


def _times(status: SignalStatus) -> Iterator[datetime]:
    """The times that events tell of."""
    failed_at = status.failure_info.last_failure_time if status.failure_info else None
    for time in (status.start_time, status.completion_time, failed_at):
        if time is not None:
            yield time
    for condition in status.conditions:
        yield condition.last_transition_time


def _transition_time(status: SignalStatus, type: ConditionType) -> datetime | None:
    condition = status.condition(type)
    return condition.last_transition_time if condition is not None and is_true(condition) else None


def _milliseconds(span: timedelta) -> int:
    # Rounded up: what took less than a millisecond took time all the same.
    return min(max(0, -(-span // timedelta(milliseconds=1))), limits.MAX_DURATION)
