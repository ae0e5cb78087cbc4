"""One reconcile: what it writes, records and waits for."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from kubernaut.api.events import AuditEvent
from kubernaut.api.signals import FailureInfo, SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Environment, Phase
from kubernaut.audit.errors import SpoolFull
from kubernaut.kube.controller import RequeueAfter, TransientError
from kubernaut.kube.errors import ApiServerUnreachable, Conflict, NotFound
from kubernaut.kube.objects import Key, key_of
from kubernaut.signalprocessing import trail
from kubernaut.signalprocessing.config import OnPolicyError, RecordedEvents
from kubernaut.signalprocessing.enrichment import Found, Reference
from kubernaut.signalprocessing.mapping import EnvironmentMapping
from kubernaut.signalprocessing.metrics import ProcessingMetrics
from kubernaut.signalprocessing.offline import Manifests
from kubernaut.signalprocessing.phases import Notice, Phases, Surroundings
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.facts import Facts
from kubernaut.signalprocessing.policy.worker import Fault, Reply
from kubernaut.signalprocessing.reconciler import Reconciler, change_of
from kubernaut.signalprocessing.signal_mode import SignalModes
from support.signals import EARLY, a_namespace, a_signal, an_object

ANSWERS = {
    "environment": [{"environment": "Production", "source": "namespace-labels"}],
    "severity": ["critical"],
    "priority": [{"priority": "P0", "policy_name": "mine"}],
}


class Fixed:
    """A policy that always answers the same."""

    def __init__(self, **faults: Fault) -> None:
        self.faults = faults

    async def decide(self, facts: Facts) -> decision.Decision:
        answers = {rule: answer for rule, answer in ANSWERS.items() if rule not in self.faults}
        return decision.decide(Reply(answers=answers, faults=self.faults), facts, "ab" * 32)


class Memory:
    """Signals that are stored as an API server stores them: newest version only, status merged."""

    def __init__(self, *signals: SignalProcessing) -> None:
        self.stored = {key_of(signal): signal for signal in signals}
        self.cached = dict(self.stored)
        self.writes = 0
        self.refused: list[Exception] = []

    def known(self, key: Key) -> SignalProcessing | None:
        return self.cached.get(key)

    async def fresh(self, key: Key) -> SignalProcessing:
        if key not in self.stored:
            raise NotFound(str(key))
        self.cached[key] = self.stored[key]
        return self.stored[key]

    async def write(self, signal: SignalProcessing, change: dict[str, Any]) -> SignalProcessing:
        if self.refused:
            raise self.refused.pop(0)
        key = key_of(signal)
        if key not in self.stored:
            raise NotFound(str(key))
        current = self.stored[key]
        if current.metadata.resource_version != signal.metadata.resource_version:
            raise Conflict("somebody else wrote first")
        self.writes += 1
        status = _merged(msgspec.to_builtins(current.status), change)
        self.put(key, msgspec.convert(status, SignalStatus))
        self.cached[key] = self.stored[key]
        return self.stored[key]

    def put(self, key: Key, status: SignalStatus) -> None:
        """What another writer does."""
        signal = self.stored[key]
        version = str(int(signal.metadata.resource_version) + 1)
        metadata = msgspec.structs.replace(signal.metadata, resource_version=version)
        self.stored[key] = msgspec.structs.replace(signal, metadata=metadata, status=status)


def _merged(target: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            inner = target.get(key)
            target[key] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            target[key] = value
    return target


class Book:
    """A trail in memory."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []
        self.is_full = False

    def record(self, events: Iterable[AuditEvent]) -> None:
        if self.is_full:
            raise SpoolFull("full")
        self.events += events


class Unanswering(Manifests):
    """A cluster that does not answer for a while."""

    failures = 0

    async def find(self, wanted: Reference) -> Found | None:
        if self.failures:
            self.failures -= 1
            raise ApiServerUnreachable("GET pods: no answer, token=abc123")
        return await super().find(wanted)


class Bench:
    """A reconciler and everything around it."""

    def __init__(
        self,
        signal: SignalProcessing,
        policy: Fixed | None = None,
        *,
        on_policy_error: OnPolicyError = OnPolicyError.FALLBACK,
        events: RecordedEvents = RecordedEvents.OUTCOME,
    ) -> None:
        self.key = key_of(signal)
        self.signals = Memory(signal)
        self.cluster = Unanswering()
        self.cluster.add(a_namespace("shop", "production"))
        self.cluster.add(an_object("Pod", "api-7d-x"))
        self.book = Book()
        self.notices: list[Notice] = []
        self.now = datetime.now(UTC)
        self.registry = CollectorRegistry()
        metrics = ProcessingMetrics(self.registry)
        around = Surroundings(
            reader=self.cluster,
            policy=lambda: policy or Fixed(),
            mapping=lambda: EnvironmentMapping(exact={"shop": Environment.STAGING}),
            modes=lambda: SignalModes({"PredictedOOMKill": "OOMKilled"}),
        )
        self.phases = Phases(around, metrics, on_policy_error=on_policy_error, clock=self.tick)
        self.reconciler = Reconciler(
            self.signals,
            self.phases,
            self.book,
            lambda _, notice: self.notices.append(notice),
            metrics,
            events=events,
        )

    def tick(self) -> datetime:
        self.now += timedelta(microseconds=137)
        return self.now

    async def reconcile(self) -> Any:
        return await self.reconciler.reconcile(self.key)

    @property
    def status(self) -> SignalStatus:
        return self.signals.stored[self.key].status

    @property
    def reasons(self) -> list[str]:
        return [notice.reason.value for notice in self.notices]

    @property
    def actions(self) -> list[str]:
        return [event.event_type.removeprefix("signalprocessing.") for event in self.book.events]


async def test_one_reconcile_makes_at_most_one_status_patch():
    bench = Bench(a_signal())

    assert await bench.reconcile() is None

    assert bench.status.phase is Phase.COMPLETED
    assert bench.signals.writes == 1
    assert len(bench.book.events) == 9
    assert bench.reasons == ["SignalProcessed"]
    assert bench.status.observed_generation == 1
    assert bench.status.condition("Ready").message == "Signal processing completed"


async def test_final_signal_is_left_alone():
    bench = Bench(a_signal())
    await bench.reconcile()
    events = list(bench.book.events)

    await bench.reconcile()

    assert bench.signals.writes == 1
    assert bench.book.events == events


async def test_events_are_derived_again_after_a_crash_between_write_and_record():
    bench = Bench(a_signal())
    bench.book.is_full = True
    with pytest.raises(TransientError, match="full"):
        await bench.reconcile()
    assert bench.status.phase is Phase.COMPLETED
    restarted = Bench(bench.signals.stored[bench.key])

    await restarted.reconcile()

    assert restarted.signals.writes == 0
    assert restarted.book.events == trail.events_of(bench.signals.stored[bench.key])
    assert len(restarted.book.events) == 9


async def test_restart_derives_the_same_bytes():
    bench = Bench(a_signal())
    await bench.reconcile()
    restarted = Bench(bench.signals.stored[bench.key])

    await restarted.reconcile()

    assert msgspec.json.encode(restarted.book.events) == msgspec.json.encode(bench.book.events)


async def test_all_events_tell_every_transition():
    bench = Bench(a_signal(), events=RecordedEvents.ALL)

    await bench.reconcile()

    messages = [notice.message for notice in bench.notices if notice.reason == "PhaseTransition"]
    assert messages == [
        "Phase transition: Pending → Enriching",
        "Phase transition: Enriching → Classifying",
        "Phase transition: Classifying → Categorizing",
        "Phase transition: Categorizing → Completed",
    ]
    assert "SignalEnriched" in bench.reasons


async def test_harmless_second_writer_costs_a_second_try():
    bench = Bench(a_signal())
    bench.signals.put(bench.key, SignalStatus())

    await bench.reconcile()

    assert bench.status.phase is Phase.COMPLETED
    assert bench.signals.writes == 1


async def test_signal_that_its_parent_failed_meanwhile_stays_failed():
    bench = Bench(a_signal())
    cascade = SignalStatus(phase=Phase.FAILED, failure_info=FailureInfo(error="parent was cancelled"))
    bench.signals.put(bench.key, cascade)

    assert isinstance(await bench.reconcile(), RequeueAfter)
    assert bench.status == cascade
    await bench.reconcile()

    assert bench.status.phase is Phase.FAILED
    assert bench.status.failure_info.error == "parent was cancelled"
    assert bench.status.completion_time is not None
    assert bench.actions[-3:] == ["error.occurred", "phase.transition", "signal.processed"]


async def test_two_controllers_in_one_outage_never_give_one_id_two_contents():
    bench = Bench(a_signal())
    bench.cluster.failures = 10
    await bench.reconcile()
    before = bench.signals.stored[bench.key]
    other = msgspec.structs.replace(before.status.failure_info, consecutive_failures=2, last_failure_time=EARLY)
    due = msgspec.structs.replace(before.status.failure_info, last_failure_time=EARLY)
    bench.signals.put(bench.key, msgspec.structs.replace(before.status, failure_info=due))
    bench.signals.cached[bench.key] = bench.signals.stored[bench.key]
    bench.signals.put(bench.key, msgspec.structs.replace(before.status, failure_info=other))

    assert isinstance(await bench.reconcile(), RequeueAfter)

    assert bench.status.failure_info == other


async def test_write_that_never_succeeds_is_tried_later():
    bench = Bench(a_signal())
    bench.signals.refused = [Conflict("again") for _ in range(9)]

    with pytest.raises(Conflict):
        await bench.reconcile()

    assert bench.book.events == []


async def test_deleted_signal_is_forgotten():
    bench = Bench(a_signal())
    del bench.signals.stored[bench.key]

    assert isinstance(await bench.reconcile(), RequeueAfter)
    del bench.signals.cached[bench.key]
    assert await bench.reconcile() is None


async def test_outage_is_waited_for_with_a_growing_delay():
    bench = Bench(a_signal())
    bench.cluster.failures = 2

    first = await bench.reconcile()

    assert first.seconds == pytest.approx(1.0, abs=0.2)
    assert bench.status.phase is Phase.ENRICHING
    assert bench.status.failure_info.consecutive_failures == 1
    assert "abc123" not in bench.status.failure_info.error
    assert bench.reasons == ["EnrichmentFailed"]
    assert bench.actions[-1] == "error.occurred"
    # Our own write wakes us at once; the delay holds all the same.
    assert (await bench.reconcile()).seconds <= 1.0
    assert bench.signals.writes == 1


async def test_signal_goes_on_after_an_outage_and_forgets_it():
    failure = FailureInfo(error="x", consecutive_failures=3, last_failure_time=EARLY)
    bench = Bench(a_signal(status=SignalStatus(phase=Phase.ENRICHING, start_time=EARLY, failure_info=failure)))

    await bench.reconcile()

    assert bench.status.phase is Phase.COMPLETED
    assert bench.status.failure_info is None


async def test_deadline_fails_a_signal_in_any_phase_with_everything_that_belongs_to_it():
    late = datetime.now(UTC) - timedelta(seconds=1)
    start = SignalStatus(phase=Phase.ENRICHING, start_time=EARLY)
    bench = Bench(a_signal(times_out_at=late, status=start))

    await bench.reconcile()

    assert bench.status.phase is Phase.FAILED
    assert bench.status.completion_time is not None
    assert "timed out after" in bench.status.failure_info.error
    assert "during phase Enriching" in bench.status.failure_info.error
    assert [bench.status.condition(type).reason for type in ("EnrichmentComplete", "ProcessingComplete", "Ready")] == [
        "TimedOut",
        "TimedOut",
        "NotReady",
    ]
    assert bench.reasons == ["ProcessingTimedOut"]
    assert bench.actions == [
        "phase.transition",
        "phase.transition",
        "error.occurred",
        "phase.transition",
        "signal.processed",
    ]


async def test_deadline_that_passed_before_anything_was_done_has_no_condition_of_a_phase():
    bench = Bench(a_signal(times_out_at=EARLY))

    await bench.reconcile()

    assert bench.status.phase is Phase.FAILED
    assert [condition.type for condition in bench.status.conditions] == ["ProcessingComplete", "Ready"]


async def test_waiting_never_goes_beyond_the_deadline():
    bench = Bench(a_signal(times_out_at=datetime.now(UTC) + timedelta(milliseconds=300)))
    bench.cluster.failures = 1

    assert (await bench.reconcile()).seconds <= 0.31


async def test_policy_failure_falls_back_and_says_so():
    bench = Bench(a_signal(), Fixed(environment=Fault(message="boom"), severity=Fault(message="bang")))

    await bench.reconcile()

    assert bench.status.phase is Phase.COMPLETED
    assert (bench.status.environment_classification.environment, bench.status.environment_classification.source) == (
        "Staging",
        "configmap",
    )
    assert bench.status.signal_classification.severity_source == "fallback"
    assert bench.status.condition("ClassificationComplete").reason == "PolicyFallback"
    assert bench.reasons == ["PolicyEvaluationFailed", "SignalProcessed"]
    assert bench.registry.get_sample_value("signalprocessing_policy_fallback_total", {"rule": "severity"}) == 1


@pytest.mark.parametrize(
    ("rule", "prefix", "reason"),
    [
        ("environment", "environment classification failed: ", "ClassificationFailed"),
        ("priority", "priority assignment failed: ", "ClassificationFailed"),
        ("severity", "policy evaluation failed: ", "RegoEvaluationError"),
    ],
)
async def test_policy_failure_fails_the_signal_where_that_is_wanted(rule: str, prefix: str, reason: str):
    policy = Fixed(**{rule: Fault(message="boom")})
    bench = Bench(a_signal(), policy, on_policy_error=OnPolicyError.FAIL)

    await bench.reconcile()

    assert bench.status.phase is Phase.FAILED
    assert bench.status.failure_info.error.startswith(prefix)
    assert bench.status.condition("ClassificationComplete").reason == reason
    assert bench.status.condition("CategorizationComplete").message == "Skipped due to classification failure"
    assert bench.status.condition("ProcessingComplete").message == "Signal processing failed during classification"
    assert bench.status.completion_time is not None
    assert bench.actions[-3:] == ["error.occurred", "phase.transition", "signal.processed"]


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.ENRICHING, Phase.CLASSIFYING, Phase.CATEGORIZING])
async def test_signal_left_in_any_phase_is_taken_up_there(phase: Phase):
    bench = Bench(a_signal(status=SignalStatus(phase=phase, start_time=EARLY)))

    await bench.reconcile()

    assert bench.status.phase is Phase.COMPLETED
    assert bench.status.start_time == EARLY


async def test_proactive_signal_keeps_its_original_name():
    bench = Bench(a_signal(name="PredictedOOMKill"))

    await bench.reconcile()

    found = bench.status.signal_classification
    assert (found.signal_mode, found.signal_name, found.source_signal_name) == (
        "proactive",
        "OOMKilled",
        "PredictedOOMKill",
    )
    assert "normalized: PredictedOOMKill → OOMKilled" in bench.status.condition("ClassificationComplete").message


def test_change_removes_what_is_gone_and_repeats_nothing():
    before = SignalStatus(phase=Phase.ENRICHING, start_time=EARLY, failure_info=FailureInfo(error="x"))
    after = SignalStatus(phase=Phase.CLASSIFYING, start_time=EARLY)

    assert change_of(before, after) == {"phase": "Classifying", "failureInfo": None}
