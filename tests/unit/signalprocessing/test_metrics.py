"""What is counted about decisions."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from kubernaut.api.signals import KubernetesContext, SignalProcessing
from kubernaut.signalprocessing.bounded_label import MAX_CHARS, BoundedLabel
from kubernaut.signalprocessing.metrics import MAX_TEAMS, DecisionMetrics, PolicyMetrics
from support.reconciling import Harness
from support.signals import a_signal


async def ended() -> SignalProcessing:
    harness = Harness(a_signal())
    await harness.reconcile()
    return harness.signals.stored[harness.key]


def of_team(signal: SignalProcessing, team: str) -> SignalProcessing:
    context = msgspec.structs.replace(
        signal.status.kubernetes_context or KubernetesContext(), custom_labels={"team": [team]}
    )
    return msgspec.structs.replace(signal, status=msgspec.structs.replace(signal.status, kubernetes_context=context))


@pytest.mark.requirement("LESSON-14")
async def test_signal_counts_by_what_was_decided():
    registry = CollectorRegistry()
    metrics, signal = DecisionMetrics(registry), await ended()
    metrics.watch(lambda: [a_signal(), signal, a_signal()])

    metrics.ended(of_team(signal, "payments"))

    labels = {"result": "completed", "priority": "P0", "environment": "production", "severity": "critical"}
    assert registry.get_sample_value("signalprocessing_signals_total", labels) == 1
    assert registry.get_sample_value("signalprocessing_signals_by_team_total", {"team": "payments"}) == 1
    assert registry.get_sample_value("signalprocessing_signals_by_rule_total", {"rule": "mine"}) == 1
    assert registry.get_sample_value("signalprocessing_signal_latency_seconds_count") == 1
    assert registry.get_sample_value("signalprocessing_open_signals") == 2


async def test_signal_that_ends_counts_once_however_often_it_is_reconciled():
    harness = Harness(a_signal())
    for _ in range(3):
        await harness.reconcile()

    samples = [s for f in harness.registry.collect() if f.name == "signalprocessing_signals" for s in f.samples]
    assert sum(sample.value for sample in samples if sample.name.endswith("_total")) == 1


async def test_teams_are_bounded_whatever_a_policy_answers():
    registry = CollectorRegistry()
    metrics, signal = DecisionMetrics(registry), await ended()

    for number in range(1_000):
        metrics.ended(of_team(signal, f"team-{number}"))

    samples = [s for f in registry.collect() if f.name == "signalprocessing_signals_by_team" for s in f.samples]
    counts = {s.labels["team"]: s.value for s in samples if s.name.endswith("_total")}
    assert len(counts) == MAX_TEAMS + 1
    assert counts["other"] == 1_000 - MAX_TEAMS


@given(text=st.text(st.characters(), max_size=200))
def test_no_label_breaks_the_exposition(text: str):
    registry = CollectorRegistry()
    label = BoundedLabel(3)

    DecisionMetrics(registry)._teams.labels(label.value(text)).inc()

    assert len(label.value(text)) <= max(MAX_CHARS, len("other"))
    (line,) = [line for line in generate_latest(registry).decode().splitlines() if "by_team_total{" in line]
    assert line.endswith(" 1.0")


@pytest.mark.parametrize("text", ["", "none"])
def test_missing_label_is_none(text: str):
    assert BoundedLabel(1).value(text) == "none"


def test_policy_age_counts_from_the_last_version():
    registry = CollectorRegistry()
    metrics = PolicyMetrics(registry)
    assert registry.get_sample_value("signalprocessing_policy_age_seconds") == 0
    metrics.loaded("ab")

    first = registry.get_sample_value("signalprocessing_policy_age_seconds")

    assert first is not None
    assert 0 < first <= registry.get_sample_value("signalprocessing_policy_age_seconds")
