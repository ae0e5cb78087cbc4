"""A deleted signal with the finalizer leaves its audit events before it goes."""

from datetime import UTC, datetime, timedelta

import pytest

from kubernaut.api.signals import FINALIZER
from kubernaut.api.vocabulary import Phase
from kubernaut.kube.controller import RequeueAfter
from kubernaut.signalprocessing import audit_events
from kubernaut.signalprocessing.reconciler import FINALIZER_TIMEOUT
from support.reconciling import Harness
from support.signals import a_signal


def deleted(harness: Harness, ago: float = 0.0) -> None:
    signal = harness.signals.stored[harness.key]
    at = datetime.now(UTC) - timedelta(seconds=ago)
    harness.signals.put_metadata(signal, deletion_timestamp=at, finalizers=["other/one", FINALIZER])


async def test_signal_that_was_never_seen_ends_as_failed_with_its_events():
    harness = Harness(a_signal())
    deleted(harness)

    assert await harness.reconcile() is None

    assert harness.key not in harness.signals.stored
    assert harness.actions == ["phase.transition", "error.occurred", "phase.transition", "signal.processed"]
    assert harness.audit.events[-1].error_message == "the signal was deleted during phase Pending"


async def test_signal_deleted_after_a_restart_leaves_what_the_last_process_did_not_record():
    first = Harness(a_signal())
    await first.reconcile()
    restarted = Harness(first.signals.stored[first.key])
    deleted(restarted)

    await restarted.reconcile()

    assert restarted.audit.events == first.audit.events
    assert restarted.key not in restarted.signals.stored


async def test_signal_stays_until_its_events_are_acknowledged_but_not_for_ever():
    harness = Harness(a_signal())
    await harness.reconcile()
    harness.audit.unacknowledged = {harness.audit.events[3].event_id}
    deleted(harness)

    assert isinstance(await harness.reconcile(), RequeueAfter)
    assert harness.key in harness.signals.stored
    deleted(harness, ago=FINALIZER_TIMEOUT + 1)
    await harness.reconcile()

    assert harness.key not in harness.signals.stored


async def test_deleted_signal_without_the_finalizer_is_left_alone():
    harness = Harness(a_signal())
    harness.signals.put_metadata(
        harness.signals.stored[harness.key], deletion_timestamp=datetime.now(UTC), finalizers=["other/one"]
    )

    assert await harness.reconcile() is None

    assert harness.status.phase is None
    assert harness.key in harness.signals.stored


@pytest.mark.parametrize("adds", [False, True])
async def test_finalizer_is_added_where_that_is_asked_for(adds: bool):
    harness = Harness(a_signal(), adds_finalizer=adds)

    for _ in range(2):
        await harness.reconcile()

    stored = harness.signals.stored[harness.key]
    assert (FINALIZER in stored.metadata.finalizers) is adds
    assert stored.status.phase is Phase.COMPLETED
    assert audit_events.events_of(stored) == harness.audit.events


async def test_events_of_a_signal_are_acknowledged_only_when_this_process_recorded_them():
    harness = Harness(a_signal())
    await harness.reconcile()
    done = harness.signals.stored[harness.key]

    assert harness.reconciler.is_acknowledged(done)
    harness.audit.unacknowledged = {harness.audit.events[0].event_id}
    assert not harness.reconciler.is_acknowledged(done)
    assert not Harness(done).reconciler.is_acknowledged(done)
