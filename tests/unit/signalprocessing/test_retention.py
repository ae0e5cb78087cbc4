"""What may be deleted, and when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from kubernaut.api.meta import ObjectMeta, OwnerReference
from kubernaut.api.remediation import Deduplication, RemediationRequest, RemediationSpec, RemediationStatus
from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.signalprocessing.retention import GATEWAY, MANAGED_BY, Expired, expired
from support.signals import a_signal

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = 7 * 86400.0
OLD, NEW = NOW - timedelta(days=8), NOW - timedelta(days=6)


def ended(at: datetime | None, phase: Phase = Phase.COMPLETED, parent: str = "") -> SignalProcessing:
    signal = a_signal(status=SignalStatus(phase=phase, start_time=at, completion_time=at))
    owner = OwnerReference(api_version="kubernaut.ai/v1alpha1", kind="RemediationRequest", name=parent, uid=parent)
    metadata = msgspec.structs.replace(signal.metadata, owner_references=(owner,) if parent else ())
    return msgspec.structs.replace(signal, metadata=metadata)


def a_request(uid: str, last_seen: datetime = OLD, *, by: str = GATEWAY, phase: str = "") -> RemediationRequest:
    return RemediationRequest(
        metadata=ObjectMeta(name=uid, namespace="home", uid=uid, labels={MANAGED_BY: by}, creation_timestamp=OLD),
        spec=RemediationSpec(signal_name="x"),
        status=RemediationStatus(deduplication=Deduplication(last_seen_at=last_seen), overall_phase=phase),
    )


def sweep(*objects: Any, acknowledged: bool = True) -> Expired:
    signals = [each for each in objects if isinstance(each, SignalProcessing)]
    requests = [each for each in objects if isinstance(each, RemediationRequest)]
    return expired(signals, requests, WEEK, lambda _: acknowledged, NOW)


def names(found: Expired) -> list[str]:
    return [obj.metadata.name for _, obj in found.deletable]


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED])
def test_old_signal_without_a_parent_is_deleted_and_a_new_one_is_not(phase: Phase):
    old, new = ended(OLD, phase), ended(NEW, phase)

    assert names(sweep(new, old)) == [old.metadata.name]


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_final])
def test_signal_that_has_not_ended_is_kept_however_old(phase: Phase):
    assert sweep(ended(OLD, phase), ended(None, phase)) == Expired()


def test_request_of_the_gateway_takes_its_signal_with_it():
    assert names(sweep(ended(OLD, parent="rr-1"), a_request("rr-1"))) == ["rr-1"]


def test_request_whose_signal_is_gone_is_deleted():
    assert names(sweep(a_request("rr-1"))) == ["rr-1"]


@pytest.mark.parametrize(
    ("signal", "request_"),
    [
        (ended(NEW, parent="rr-1"), a_request("rr-1")),
        (ended(OLD, Phase.ENRICHING, parent="rr-1"), a_request("rr-1")),
        (ended(OLD, parent="rr-1"), a_request("rr-1", NEW)),
        (ended(OLD, parent="rr-1"), a_request("rr-1", by="somebody")),
        (ended(OLD, parent="rr-1"), a_request("rr-1", phase="Completed")),
        (ended(OLD, parent="rr-2"), a_request("rr-1", by="somebody")),
    ],
    ids=["signal new", "signal open", "alert still fires", "not the gateway's", "an orchestrator's", "unknown parent"],
)
def test_request_and_signal_stay_together(signal: SignalProcessing, request_: RemediationRequest):
    assert names(sweep(signal, request_)) == []


def test_nothing_is_deleted_before_its_audit_events_are_acknowledged():
    found = sweep(ended(OLD), ended(OLD, parent="rr-1"), a_request("rr-1"), acknowledged=False)

    assert (found.deletable, found.waiting) == ((), 2)


def test_oldest_comes_first():
    older = ended(OLD - timedelta(days=3))
    newer = ended(OLD)

    assert names(sweep(newer, older)) == [older.metadata.name, newer.metadata.name]
