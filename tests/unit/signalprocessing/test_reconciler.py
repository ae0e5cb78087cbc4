"""One reconcile: what it writes, records and waits for."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kubernaut.api.signals import FailureInfo, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.kube.controller import RequeueAfter, TransientError
from kubernaut.kube.errors import Conflict
from kubernaut.signalprocessing import audit_events
from kubernaut.signalprocessing.config import OnPolicyError, RecordedEvents
from kubernaut.signalprocessing.policy.protocol import RuleError
from kubernaut.signalprocessing.reconciler import merge_patch
from support.logs import capture_logs
from support.reconciling import FakePolicy, Harness
from support.signals import EARLY, a_signal


async def test_one_reconcile_makes_at_most_one_status_patch():
    harness = Harness(a_signal())

    assert await harness.reconcile() is None

    assert harness.status.phase is Phase.COMPLETED
    assert harness.signals.writes == 1
    assert len(harness.audit.events) == 9
    assert harness.reasons == ["SignalProcessed"]
    assert harness.status.observed_generation == 1
    assert harness.status.condition("Ready").message == "Signal processing completed"


async def test_final_signal_is_left_alone():
    harness = Harness(a_signal())
    await harness.reconcile()
    events = list(harness.audit.events)

    await harness.reconcile()

    assert harness.signals.writes == 1
    assert harness.audit.events == events


@pytest.mark.requirement("BR-SP-090")
async def test_events_are_derived_again_after_a_crash_between_write_and_record():
    harness = Harness(a_signal())
    harness.audit.is_full = True
    with pytest.raises(TransientError, match="full"):
        await harness.reconcile()
    assert harness.status.phase is Phase.COMPLETED
    restarted = Harness(harness.signals.stored[harness.key])

    await restarted.reconcile()

    assert restarted.signals.writes == 0
    assert restarted.audit.events == audit_events.events_of(harness.signals.stored[harness.key])
    assert len(restarted.audit.events) == 9


async def test_restart_derives_the_same_bytes():
    harness = Harness(a_signal())
    await harness.reconcile()
    restarted = Harness(harness.signals.stored[harness.key])

    await restarted.reconcile()

    assert msgspec.json.encode(restarted.audit.events) == msgspec.json.encode(harness.audit.events)


@pytest.mark.requirement("BR-SP-095")
async def test_all_events_include_every_transition():
    harness = Harness(a_signal(), events=RecordedEvents.ALL)

    await harness.reconcile()

    messages = [event.message for event in harness.events if event.reason == "PhaseTransition"]
    assert messages == [
        "Phase transition: Pending → Enriching",
        "Phase transition: Enriching → Classifying",
        "Phase transition: Classifying → Categorizing",
        "Phase transition: Categorizing → Completed",
    ]
    assert "SignalEnriched" in harness.reasons


async def test_second_writer_of_the_same_status_costs_a_second_attempt():
    harness = Harness(a_signal())
    harness.signals.put(harness.key, SignalStatus())

    await harness.reconcile()

    assert harness.status.phase is Phase.COMPLETED
    assert harness.signals.writes == 1


@pytest.mark.requirement("LESSON-06")
async def test_signal_that_its_parent_failed_meanwhile_stays_failed():
    harness = Harness(a_signal())
    cascade = SignalStatus(phase=Phase.FAILED, failure_info=FailureInfo(error="parent was cancelled"))
    harness.signals.put(harness.key, cascade)

    assert isinstance(await harness.reconcile(), RequeueAfter)
    assert harness.status == cascade
    await harness.reconcile()

    assert harness.status.phase is Phase.FAILED
    assert harness.status.failure_info.error == "parent was cancelled"
    assert harness.status.completion_time is not None
    assert harness.actions[-3:] == ["error.occurred", "phase.transition", "signal.processed"]


async def test_two_controllers_in_one_outage_never_give_one_id_two_contents():
    harness = Harness(a_signal())
    harness.cluster.failures = 10
    await harness.reconcile()
    before = harness.signals.stored[harness.key]
    other = msgspec.structs.replace(before.status.failure_info, consecutive_failures=2, last_failure_time=EARLY)
    due = msgspec.structs.replace(before.status.failure_info, last_failure_time=EARLY)
    harness.signals.put(harness.key, msgspec.structs.replace(before.status, failure_info=due))
    harness.signals.cached[harness.key] = harness.signals.stored[harness.key]
    harness.signals.put(harness.key, msgspec.structs.replace(before.status, failure_info=other))

    assert isinstance(await harness.reconcile(), RequeueAfter)

    assert harness.status.failure_info == other


async def test_write_that_always_conflicts_is_retried_later():
    harness = Harness(a_signal())
    harness.signals.errors = [Conflict("again") for _ in range(9)]

    with pytest.raises(Conflict, match="status update still conflicts after 5 attempts"):
        await harness.reconcile()

    assert harness.audit.events == []


async def test_deleted_signal_is_dropped():
    harness = Harness(a_signal())
    del harness.signals.stored[harness.key]

    assert isinstance(await harness.reconcile(), RequeueAfter)
    del harness.signals.cached[harness.key]
    assert await harness.reconcile() is None


@pytest.mark.requirement("BR-SP-111", "DEFECT-13")
async def test_outage_is_waited_for_with_a_growing_delay():
    harness = Harness(a_signal())
    harness.cluster.failures = 2

    first = await harness.reconcile()

    assert first.seconds == pytest.approx(1.0, abs=0.2)
    assert harness.status.phase is Phase.ENRICHING
    assert harness.status.failure_info.consecutive_failures == 1
    assert "abc123" not in harness.status.failure_info.error
    assert harness.reasons == ["EnrichmentFailed"]
    assert harness.actions[-1] == "error.occurred"
    # Our own write wakes us at once; the delay holds all the same.
    assert (await harness.reconcile()).seconds <= 1.0
    assert harness.signals.writes == 1


@pytest.mark.requirement("DEFECT-12")
async def test_signal_goes_on_after_an_outage_and_drops_its_failure():
    failure = FailureInfo(error="x", consecutive_failures=3, last_failure_time=EARLY)
    harness = Harness(a_signal(status=SignalStatus(phase=Phase.ENRICHING, start_time=EARLY, failure_info=failure)))

    await harness.reconcile()

    assert harness.status.phase is Phase.COMPLETED
    assert harness.status.failure_info is None


@pytest.mark.requirement("DEFECT-04")
async def test_deadline_fails_a_signal_in_any_phase_with_everything_that_belongs_to_it():
    late = datetime.now(UTC) - timedelta(seconds=1)
    start = SignalStatus(phase=Phase.ENRICHING, start_time=EARLY)
    harness = Harness(a_signal(times_out_at=late, status=start))

    await harness.reconcile()

    assert harness.status.phase is Phase.FAILED
    assert harness.status.completion_time is not None
    assert "timed out after" in harness.status.failure_info.error
    assert "during phase Enriching" in harness.status.failure_info.error
    assert [
        harness.status.condition(type).reason for type in ("EnrichmentComplete", "ProcessingComplete", "Ready")
    ] == [
        "TimedOut",
        "TimedOut",
        "NotReady",
    ]
    assert harness.reasons == ["ProcessingTimedOut"]
    assert harness.actions == [
        "phase.transition",
        "phase.transition",
        "error.occurred",
        "phase.transition",
        "signal.processed",
    ]


async def test_deadline_that_passed_before_anything_was_done_has_no_condition_of_a_phase():
    harness = Harness(a_signal(times_out_at=EARLY))

    await harness.reconcile()

    assert harness.status.phase is Phase.FAILED
    assert [condition.type for condition in harness.status.conditions] == ["ProcessingComplete", "Ready"]


@pytest.mark.requirement("DEFECT-05")
async def test_waiting_never_goes_beyond_the_deadline():
    harness = Harness(a_signal(times_out_at=datetime.now(UTC) + timedelta(milliseconds=300)))
    harness.cluster.failures = 1

    assert (await harness.reconcile()).seconds <= 0.31


async def test_policy_failure_falls_back_and_is_reported():
    harness = Harness(a_signal(), FakePolicy(environment=RuleError(message="boom"), severity=RuleError(message="bang")))

    with capture_logs() as logs:
        await harness.reconcile()

    assert harness.status.phase is Phase.COMPLETED
    assert (
        harness.status.environment_classification.environment,
        harness.status.environment_classification.source,
    ) == (
        "Staging",
        "configmap",
    )
    assert harness.status.signal_classification.severity_source == "fallback"
    assert harness.status.condition("ClassificationComplete").reason == "PolicyFallback"
    assert "policy fallback: rule environment: " in harness.status.condition("ClassificationComplete").message
    (line,) = [log for log in logs if log["event"] == "policy rule failed, using its fallback"]
    assert (line["rules"], line["error"]) == ("environment,severity", "rego evaluation failed: environment: boom")
    assert "rule environment: " in harness.events[0].message
    assert harness.reasons == ["PolicyEvaluationFailed", "SignalProcessed"]


@pytest.mark.parametrize(
    ("rule", "prefix", "reason"),
    [
        ("environment", "environment classification failed: ", "ClassificationFailed"),
        ("priority", "priority assignment failed: ", "ClassificationFailed"),
        ("severity", "policy evaluation failed: ", "RegoEvaluationError"),
    ],
)
async def test_policy_failure_fails_the_signal_where_configured(rule: str, prefix: str, reason: str):
    policy = FakePolicy(**{rule: RuleError(message="boom")})
    harness = Harness(a_signal(), policy, on_policy_error=OnPolicyError.FAIL)

    await harness.reconcile()

    assert harness.status.phase is Phase.FAILED
    assert harness.status.failure_info.error.startswith(prefix)
    assert harness.status.condition("ClassificationComplete").reason == reason
    assert harness.status.condition("CategorizationComplete").message == "Skipped due to classification failure"
    assert harness.status.condition("ProcessingComplete").message == "Signal processing failed during classification"
    assert harness.status.completion_time is not None
    assert harness.actions[-3:] == ["error.occurred", "phase.transition", "signal.processed"]


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.ENRICHING, Phase.CLASSIFYING, Phase.CATEGORIZING])
async def test_signal_left_in_any_phase_continues_there(phase: Phase):
    harness = Harness(a_signal(status=SignalStatus(phase=phase, start_time=EARLY)))

    await harness.reconcile()

    assert harness.status.phase is Phase.COMPLETED
    assert harness.status.start_time == EARLY


@pytest.mark.requirement("BR-SP-106")
async def test_proactive_signal_keeps_its_original_name():
    harness = Harness(a_signal(name="PredictedOOMKill"))

    await harness.reconcile()

    found = harness.status.signal_classification
    assert (found.signal_mode, found.signal_name, found.source_signal_name) == (
        "proactive",
        "OOMKilled",
        "PredictedOOMKill",
    )
    assert "normalized: PredictedOOMKill → OOMKilled" in harness.status.condition("ClassificationComplete").message


def test_merge_patch_removes_what_is_gone_and_repeats_nothing():
    before = SignalStatus(phase=Phase.ENRICHING, start_time=EARLY, failure_info=FailureInfo(error="x"))
    after = SignalStatus(phase=Phase.CLASSIFYING, start_time=EARLY)

    assert merge_patch(before, after) == {"phase": "Classifying", "failureInfo": None}
