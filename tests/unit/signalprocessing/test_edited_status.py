"""A status that somebody edited by hand neither blocks a signal nor spoils its record."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.events import AuditEvent
from kubernaut.api.meta import Condition, ConditionStatus
from kubernaut.api.signals import (
    EnvironmentClassification,
    FailureInfo,
    KubernetesContext,
    PriorityAssignment,
    SignalProcessing,
    SignalStatus,
)
from kubernaut.api.vocabulary import ConditionType, Environment, Phase, Priority
from kubernaut.signalprocessing import audit_events, reconciler
from kubernaut.signalprocessing.config import OnPolicyError
from kubernaut.signalprocessing.policy.protocol import RuleError
from support.reconciling import FakePolicy, Harness
from support.signals import a_signal

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ODD_TIMES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
]


def created(status: SignalStatus) -> SignalProcessing:
    signal = a_signal(status=status)
    return msgspec.structs.replace(
        signal, metadata=msgspec.structs.replace(signal.metadata, creation_timestamp=CREATED)
    )


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.ENRICHING, Phase.COMPLETED, Phase.FAILED])
def test_time_outside_of_the_signals_life_is_recorded_as_its_creation(phase: Phase, odd: datetime):
    status = SignalStatus(
        phase=phase,
        start_time=odd,
        completion_time=odd if phase.is_final else None,
        failure_info=FailureInfo(error="x", consecutive_failures=3, last_failure_time=odd),
    )

    events = audit_events.events_of(created(status))

    assert events
    assert {event.event_timestamp for event in events} == {CREATED}
    assert all((event.duration_ms or 0) < 1_000 for event in events)


def test_time_within_the_signals_life_is_recorded_as_it_is():
    start = CREATED + timedelta(minutes=5)

    events = audit_events.events_of(created(SignalStatus(phase=Phase.ENRICHING, start_time=start)))

    assert {event.event_timestamp for event in events} == {start}


@pytest.mark.parametrize("odd", ODD_TIMES)
@pytest.mark.parametrize("failures", [1, 10**9])
def test_failure_at_an_odd_time_delays_no_retry(odd: datetime, failures: int):
    status = SignalStatus(
        phase=Phase.ENRICHING,
        start_time=odd,
        failure_info=FailureInfo(error="x", consecutive_failures=failures, last_failure_time=odd),
    )

    assert reconciler._remaining_backoff(created(status)) is None


TIMES = st.sampled_from([*ODD_TIMES, CREATED, CREATED + timedelta(seconds=2)])
TEXTS = st.sampled_from(["", "x", "\n\x1b[2J", "é" * 300])


def conditions(types: st.SearchStrategy[str]) -> st.SearchStrategy[Condition]:
    return st.builds(
        Condition,
        type=types,
        status=st.sampled_from(ConditionStatus),
        reason=st.sampled_from(["TimedOut", "Nonsense"]),
        message=TEXTS,
        last_transition_time=TIMES,
    )


STATUSES = st.builds(
    SignalStatus,
    observed_generation=st.sampled_from([0, 1, -5, 2**62]),
    phase=st.none() | st.sampled_from(Phase),
    start_time=st.none() | TIMES,
    completion_time=st.none() | TIMES,
    failure_info=st.none()
    | st.builds(
        FailureInfo,
        error=TEXTS,
        consecutive_failures=st.sampled_from([0, 1, 2**31 - 1]),
        last_failure_time=st.none() | TIMES,
    ),
    conditions=st.lists(conditions(st.sampled_from([*ConditionType, "Other", ""])), max_size=5),
    kubernetes_context=st.none() | st.just(KubernetesContext()),
    environment_classification=st.none()
    | st.builds(EnvironmentClassification, environment=st.sampled_from(Environment), source=TEXTS, classified_at=TIMES),
    priority_assignment=st.none()
    | st.builds(PriorityAssignment, priority=st.sampled_from(Priority), source=TEXTS, assigned_at=TIMES),
)


def content_of(event: AuditEvent) -> bytes:
    """What is hashed; `if_absent` is no part of it."""
    return msgspec.json.encode(msgspec.structs.replace(event, if_absent=None))


@settings(max_examples=150, deadline=None)
@given(status=STATUSES)
@pytest.mark.requirement("LESSON-12")
def test_every_edited_status_ends_in_one_reconcile_with_events_that_stay_the_same(status: SignalStatus):
    async def reconciled() -> tuple[Harness, Harness]:
        harness = Harness(created(status))
        await harness.reconcile()
        restarted = Harness(harness.signals.stored[harness.key])
        await restarted.reconcile()
        return harness, restarted

    harness, restarted = asyncio.run(reconciled())

    assert harness.status.phase in (Phase.COMPLETED, Phase.FAILED)
    assert harness.status.completion_time is not None
    assert restarted.signals.writes == 0
    assert restarted.audit.events == audit_events.events_of(harness.signals.stored[harness.key])
    first = {event.event_id: content_of(event) for event in harness.audit.events}
    again = {event.event_id: content_of(event) for event in restarted.audit.events}
    assert {id: body for id, body in first.items() if id in again and again[id] != body} == {}


@pytest.mark.parametrize("phase", [None, *[phase for phase in Phase if not phase.is_final]])
@pytest.mark.parametrize("change", ["phase", "phase and time"])
@pytest.mark.parametrize("on_policy_error", OnPolicyError)
async def test_reopened_signal_ends_again_as_it_had_ended(phase: Phase | None, change: str, on_policy_error):
    harness = Harness(a_signal(), FakePolicy(priority=RuleError(message="x")), on_policy_error=on_policy_error)
    await harness.reconcile()
    before, events = harness.status, list(harness.audit.events)
    edited = msgspec.structs.replace(before, phase=phase)
    if change == "phase and time":
        edited = msgspec.structs.replace(edited, completion_time=None)
    harness.signals.put(harness.key, edited)
    harness.signals.cached = dict(harness.signals.stored)

    await harness.reconcile()

    assert harness.status == before
    assert harness.audit.events == events
