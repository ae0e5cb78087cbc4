"""Replicas that decide by different versions of the policy notice it by the signals of each other."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from kubernaut.api.signals import EnvironmentClassification, SignalClassification, SignalStatus
from kubernaut.api.vocabulary import Environment
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy.replicas import PROPAGATION_TIME, OtherReplicas
from support.logs import capture_logs
from support.signals import a_signal

START = datetime(2026, 1, 2, tzinfo=UTC)
OURS, THEIRS = "a" * 64, "b" * 64
METRIC = "signalprocessing_policy_differs_between_replicas"


@dataclass
class Version:
    hash: str = OURS


@dataclass
class InForce:
    """What is asked of the policy in force."""

    current: Version = field(default_factory=Version)
    loaded_at: datetime = START


def decided(policy_hash: str, after: timedelta):
    environment = EnvironmentClassification(environment=Environment.TEST, source="x", classified_at=START + after)
    classification = SignalClassification(policy_hash=policy_hash)
    return a_signal(status=SignalStatus(environment_classification=environment, signal_classification=classification))


def test_difference_is_told_once_and_ends():
    registry, policy = CollectorRegistry(), InForce()
    replicas = OtherReplicas(policy, PolicyMetrics(registry))
    late = PROPAGATION_TIME + timedelta(seconds=1)
    with capture_logs() as logs:
        replicas.on_change(None, decided(THEIRS, timedelta(seconds=1)))
        replicas.on_change(None, a_signal())
        assert replicas.difference is None
        for seconds in (0, 1):
            replicas.on_change(None, decided(THEIRS, late + timedelta(seconds=seconds)))

        assert replicas.difference == f"other_replica_decides_by_policy:{THEIRS[:12]},in_force_here:{OURS[:12]}"
        assert registry.get_sample_value(METRIC) == 1
        replicas.on_change(None, decided(OURS, late))
        assert replicas.difference is not None
        replicas.on_change(None, decided(OURS, late + timedelta(seconds=2)))

        assert replicas.difference is None
        assert registry.get_sample_value(METRIC) == 0
    assert [log["event"] for log in logs] == [
        "another replica decides by another policy",
        "replicas decide by the same policy again",
    ]


def test_new_version_here_begins_anew():
    policy = InForce()
    replicas = OtherReplicas(policy, PolicyMetrics(CollectorRegistry()))
    replicas.on_change(None, decided(THEIRS, PROPAGATION_TIME * 2))
    policy.current, policy.loaded_at = Version(THEIRS), START + PROPAGATION_TIME * 3

    assert replicas.difference is None
