"""The events that a signal should have left, from the object alone."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.events import AuditEvent, SignalPayload
from kubernaut.api.meta import Condition, ConditionStatus
from kubernaut.api.signals import (
    BusinessClassification,
    EnvironmentClassification,
    FailureInfo,
    KubernetesContext,
    OwnerChainEntry,
    PriorityAssignment,
    SignalClassification,
    SignalProcessing,
    SignalStatus,
)
from kubernaut.api.vocabulary import (
    AUDIT_VALUES,
    ConditionType,
    Criticality,
    Environment,
    EnvironmentSource,
    Phase,
    Priority,
    PrioritySource,
    Severity,
    SeveritySource,
    SignalMode,
    Sla,
)
from kubernaut.signalprocessing import audit_events
from support.signals import EARLY, a_context, a_signal

TICK = timedelta(milliseconds=7, microseconds=13)


def a_condition(type: ConditionType, after: int, holds: bool = True) -> Condition:
    status = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
    return Condition(type=type, status=status, reason="x", message="y", last_transition_time=EARLY + after * TICK)


def a_status(phase: Phase | None, **more) -> SignalStatus:
    """The status of a signal that went the normal way up to a phase."""
    step = 0 if phase is None else list(Phase).index(phase) + 1
    status = SignalStatus(phase=phase, start_time=EARLY if step else None)
    if step > 2:
        context = a_context(labels={"kubernaut.ai/team": "payments"})
        chain = [OwnerChainEntry(kind="ReplicaSet", name="api-7d"), OwnerChainEntry(kind="Deployment", name="api")]
        context = msgspec.structs.replace(context, owner_chain=chain)
        conditions = [a_condition(ConditionType.ENRICHMENT, 1)]
        status = msgspec.structs.replace(status, kubernetes_context=context, conditions=conditions)
    if step > 3:
        status = msgspec.structs.replace(
            status,
            conditions=[*status.conditions, a_condition(ConditionType.CLASSIFICATION, 2)],
            environment_classification=EnvironmentClassification(
                environment=Environment.TEST, source="namespace-labels", classified_at=EARLY
            ),
            priority_assignment=PriorityAssignment(
                priority=Priority.P1, source="rego-policy", policy_name="mine", assigned_at=EARLY
            ),
            signal_classification=SignalClassification(
                severity=Severity.HIGH,
                severity_source="rego-policy",
                policy_hash="ab" * 32,
                signal_mode=SignalMode.PROACTIVE,
                source_signal_name="PredictedOOMKill",
            ),
        )
    if step > 4:
        status = msgspec.structs.replace(
            status,
            conditions=[*status.conditions, a_condition(ConditionType.CATEGORIZATION, 3)],
            completion_time=EARLY + 3 * TICK,
            business_classification=BusinessClassification(
                business_unit="payments", criticality=Criticality.MEDIUM, sla_requirement=Sla.GOLD
            ),
        )
    return msgspec.structs.replace(status, **more)


def failed(status: SignalStatus) -> SignalStatus:
    return msgspec.structs.replace(status, phase=Phase.FAILED)


def with_status(signal: SignalProcessing, status: SignalStatus) -> SignalProcessing:
    return msgspec.structs.replace(signal, status=status)


def payload_of(event: AuditEvent) -> SignalPayload:
    return msgspec.json.decode(event.event_data, type=SignalPayload)


@pytest.mark.requirement("BR-SP-090")
def test_completed_signal_leaves_nine_events_in_causal_order():
    events = audit_events.events_of(a_signal(status=a_status(Phase.COMPLETED)))

    assert [(event.event_action, payload_of(event).to_phase) for event in events] == [
        ("phase_transition", "Pending"),
        ("phase_transition", "Enriching"),
        ("enrichment", None),
        ("phase_transition", "Classifying"),
        ("classification", None),
        ("phase_transition", "Categorizing"),
        ("classification", None),
        ("phase_transition", "Completed"),
        ("processed", None),
    ]
    times = [event.event_timestamp for event in events]
    assert times == sorted(times)
    assert len({event.event_id for event in events}) == 9


def test_payloads_hold_the_status_in_the_spelling_of_the_audit_trail():
    signal = a_signal("Sev2", status=a_status(Phase.COMPLETED), name="PredictedOOMKill", cluster_id="edge-1")
    events = audit_events.events_of(signal)
    enriched, decided, business, processed = (payload_of(events[place]) for place in (2, 4, 6, 8))

    assert (enriched.owner_chain_length, enriched.has_pod, enriched.has_deployment) == (2, True, True)
    assert (enriched.has_namespace, enriched.degraded_mode, enriched.duration_ms) == (True, False, 8)
    assert (decided.external_severity, decided.severity, decided.normalized_severity) == ("Sev2", "high", "high")
    assert (decided.decided_environment, decided.environment_source) == ("test", "labels")
    assert (decided.priority, decided.priority_source, decided.policy_name) == ("P1", "rego", "mine")
    assert (decided.signal_mode, decided.source_signal_name) == ("proactive", "PredictedOOMKill")
    assert (decided.determination_source, decided.policy_hash) == ("rego-policy", "ab" * 32)
    assert (business.business_unit, business.decided_criticality, business.sla_requirement) == (
        "payments",
        "medium",
        "gold",
    )
    assert (processed.decided_environment, processed.decided_criticality, processed.error) == ("test", "medium", None)
    # The shared vocabulary has neither `test` nor `medium`.
    assert (decided.environment, business.criticality, processed.environment) == (None, None, None)
    assert (decided.signalprocessing_name, decided.signalprocessing_namespace) == (
        signal.metadata.name,
        "kubernaut-system",
    )
    envelope = events[4]
    assert envelope.correlation_id == signal.spec.remediation_request_ref.name
    assert (envelope.namespace, envelope.resource_type, envelope.resource_id) == ("shop", "Pod", "api-7d-x")
    assert (envelope.cluster_id, envelope.duration_ms, envelope.actor_id) == ("edge-1", 8, audit_events.ACTOR)


SOURCES = [*EnvironmentSource, "my-own-rule"]


@pytest.mark.parametrize("environment", Environment)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.requirement("BR-SP-080")
def test_no_word_of_the_status_is_dropped(environment: Environment, source: str):
    classification = EnvironmentClassification(environment=environment, source=source, classified_at=EARLY)
    signal = a_signal(status=a_status(Phase.COMPLETED, environment_classification=classification))

    decided = payload_of(audit_events.events_of(signal)[4])

    assert decided.decided_environment == environment.lower()
    assert decided.decided_environment_source == source
    assert decided.environment in {None, environment.lower()}
    assert decided.environment_source in {"labels", "rego", "default", None}


@pytest.mark.parametrize(("target", "kind", "name"), [("api-7d-x", "Pod", "api-7d-x"), ("", "SignalProcessing", "sp-")])
def test_an_event_is_about_the_target_where_there_is_one(target: str, kind: str, name: str):
    signal = a_signal(target=target, at="shop" if target else "", status=a_status(Phase.COMPLETED))

    events = audit_events.events_of(signal)

    assert {event.resource_type for event in events} == {kind}
    assert all(event.resource_id.startswith(name) and event.resource_name == event.resource_id for event in events)
    assert {event.namespace for event in events} == {"shop" if target else "kubernaut-system"}


@pytest.mark.parametrize(("source", "word"), [*zip(PrioritySource, ("rego", "severity"), strict=True), ("x", "rego")])
@pytest.mark.requirement("DEFECT-09")
def test_priority_source_is_never_dropped(source: str, word: str):
    assignment = PriorityAssignment(priority=Priority.P2, source=source, assigned_at=EARLY)
    signal = a_signal(status=a_status(Phase.COMPLETED, priority_assignment=assignment))

    assert payload_of(audit_events.events_of(signal)[4]).priority_source == word


def test_events_only_grow_while_a_signal_goes_on():
    signal = a_signal()
    before: list[AuditEvent] = []
    for phase in list(Phase)[:5]:
        events = audit_events.events_of(with_status(signal, a_status(phase)))

        assert events[: len(before)] == before
        before = events


@pytest.mark.requirement("DEFECT-04")
def test_failed_signal_leaves_error_transition_and_end():
    failure = FailureInfo(error="no policy", consecutive_failures=0)
    status = failed(a_status(Phase.CLASSIFYING, completion_time=EARLY + 5 * TICK, failure_info=failure))

    events = audit_events.events_of(a_signal(status=status))

    assert [event.event_action for event in events][-3:] == ["error", "phase_transition", "processed"]
    assert payload_of(events[-2]).from_phase == "Classifying"
    assert [event.event_outcome for event in events[-3:]] == ["failure"] * 3
    assert events[-1].error_message == "no policy"


def test_failed_signal_without_an_end_waits_for_it():
    status = failed(a_status(Phase.ENRICHING))

    assert [event.event_action for event in audit_events.events_of(a_signal(status=status))] == ["phase_transition"]


def test_each_failed_attempt_is_an_event_of_its_own():
    def attempt(number: int) -> AuditEvent:
        failure = FailureInfo(error="api down", consecutive_failures=number, last_failure_time=EARLY + number * TICK)
        return audit_events.events_of(with_status(signal, a_status(Phase.ENRICHING, failure_info=failure)))[-1]

    signal = a_signal()

    assert payload_of(attempt(2)).attempt == 2
    assert attempt(1).event_id != attempt(2).event_id
    assert attempt(2) == attempt(2)


def test_signal_without_a_correlation_leaves_nothing():
    spec = a_signal().spec
    spec = msgspec.structs.replace(
        spec, remediation_request_ref=msgspec.structs.replace(spec.remediation_request_ref, name="")
    )
    signal = msgspec.structs.replace(a_signal(status=a_status(Phase.COMPLETED)), spec=spec)

    assert audit_events.events_of(signal) == []


moments = st.integers(0, 10**9).map(lambda micros: EARLY + timedelta(microseconds=micros))
statuses = st.builds(
    SignalStatus,
    phase=st.sampled_from([None, *Phase]),
    start_time=st.none() | moments,
    completion_time=st.none() | moments,
    kubernetes_context=st.none() | st.just(a_context()) | st.just(KubernetesContext(degraded_mode=True)),
    environment_classification=st.none()
    | st.builds(
        EnvironmentClassification,
        environment=st.sampled_from(Environment),
        source=st.sampled_from(SOURCES),
        classified_at=moments,
    ),
    signal_classification=st.none()
    | st.builds(
        SignalClassification,
        severity=st.none() | st.sampled_from(Severity),
        severity_source=st.sampled_from(["", *SeveritySource]),
    ),
    business_classification=st.none()
    | st.builds(BusinessClassification, business_unit=st.text(max_size=5), criticality=st.sampled_from(Criticality)),
    conditions=st.lists(
        st.builds(
            Condition,
            type=st.sampled_from(ConditionType),
            status=st.sampled_from(ConditionStatus),
            reason=st.just("x"),
            message=st.just("y"),
            last_transition_time=moments,
        ),
        unique_by=lambda condition: condition.type,
    ),
    failure_info=st.none()
    | st.builds(
        FailureInfo, error=st.text(max_size=9), consecutive_failures=st.integers(0, 3), last_failure_time=moments
    ),
)


@settings(max_examples=150, deadline=None)
@given(status=statuses)
def test_same_object_gives_the_same_bytes(status: SignalStatus):
    signal = a_signal(status=status)
    stored = msgspec.json.decode(msgspec.json.encode(signal), type=SignalProcessing)

    first, second = audit_events.events_of(signal), audit_events.events_of(stored)

    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    assert len({event.event_id for event in first}) == len(first)
    assert msgspec.json.decode(msgspec.json.encode(first), type=list[AuditEvent]) == first
    for event in first:
        payload = msgspec.json.decode(event.event_data)
        assert [key for key, values in AUDIT_VALUES.items() if payload.get(key) not in {None, *values}] == []


def test_a_null_character_of_a_sender_does_not_keep_its_events_out_of_the_ledger():
    signal = a_signal("cri\0tical", name="Odd\0Name", cluster_id="c\0", status=a_status(Phase.COMPLETED))

    events = audit_events.events_of(signal)

    assert {payload_of(event).signal for event in events} == {"Odd\ufffdName"}
    assert all("\0" not in (event.cluster_id or "") and b"\\u0000" not in bytes(event.event_data) for event in events)


def test_a_completed_signal_that_its_parent_fails_leaves_both_ends_under_ids_of_their_own():
    completed = a_signal(status=a_status(Phase.COMPLETED))
    overwritten = with_status(completed, failed(completed.status))

    before = {event.event_id: event for event in audit_events.events_of(completed)}
    after = {event.event_id: event for event in audit_events.events_of(overwritten)}

    assert all(after[same] == before[same] for same in before.keys() & after.keys())
    outcomes = [event.event_outcome for event in (before | after).values() if event.event_action == "processed"]
    assert sorted(outcomes) == ["failure", "success"]


@pytest.mark.parametrize(("microseconds", "milliseconds"), [(-5, 0), (0, 0), (1, 1), (1000, 1), (1001, 2)])
def test_duration_is_rounded_up_to_a_millisecond(microseconds: int, milliseconds: int):
    assert audit_events._milliseconds(timedelta(microseconds=microseconds)) == milliseconds
