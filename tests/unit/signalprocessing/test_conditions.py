"""Conditions change as Kubernetes prescribes it."""

import msgspec
import pytest

from kubernaut.api.signals import SignalStatus
from kubernaut.api.vocabulary import ConditionReason, ConditionType
from kubernaut.signalprocessing.conditions import MAX_MESSAGE_CHARS, Conditions
from support.signals import EARLY, a_signal

LATER = EARLY.replace(year=EARLY.year + 1)
READY, ENRICHED = ConditionType.READY, ConditionType.ENRICHMENT


def a_ready_signal(holds: bool):
    signal = a_signal()
    conditions = (
        Conditions.of(signal, EARLY)
        .set(READY, holds, ConditionReason.READY if holds else ConditionReason.NOT_READY, "first")
        .set(ENRICHED, True, ConditionReason.ENRICHMENT_SUCCEEDED, "other")
    )
    return msgspec.structs.replace(signal, status=SignalStatus(conditions=conditions.to_list()))


def test_transition_time_stays_while_the_status_stays():
    conditions = Conditions.of(a_ready_signal(True), LATER).set(READY, True, ConditionReason.READY, "again")

    ready, enriched = conditions.to_list()
    assert (ready.last_transition_time, ready.message) == (EARLY, "again")
    assert enriched.message == "other"


@pytest.mark.requirement("BR-SP-110")
def test_transition_time_follows_the_status():
    conditions = Conditions.of(a_ready_signal(False), LATER).set(READY, True, ConditionReason.READY, "now")

    assert [condition.last_transition_time for condition in conditions.to_list()] == [LATER, EARLY]


def test_set_leaves_the_value_it_was_called_on():
    conditions = Conditions.of(a_signal(), EARLY)

    conditions.set(READY, True, ConditionReason.READY, "x" * (MAX_MESSAGE_CHARS + 1))

    assert conditions.to_list() == []


def test_message_and_generation_fit_the_schema():
    signal = a_signal()

    (condition,) = Conditions.of(signal, EARLY).set(READY, True, ConditionReason.READY, "x" * 40_000).to_list()

    assert len(condition.message) == MAX_MESSAGE_CHARS
    assert condition.observed_generation == signal.metadata.generation
