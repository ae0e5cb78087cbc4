"""What may be deleted, and when."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from kubernaut.api.meta import ObjectMeta, OwnerReference
from kubernaut.api.remediation import Deduplication, RemediationRequest, RemediationSpec, RemediationStatus
from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import Phase
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import key_of
from kubernaut.signalprocessing.kinds import SIGNAL
from kubernaut.signalprocessing.retention import (
    GATEWAY,
    MANAGED_BY,
    Expired,
    Retention,
    RetentionMetrics,
    earlier_clock,
    expired,
)
from support.scripted_api import Call, open_scripted_api
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


MONTH = timedelta(days=30)


@pytest.mark.parametrize("signal", [ended(NEW), ended(NEW, parent="rr-1")], ids=["alone", "with its request"])
@pytest.mark.parametrize("ahead", ["this process", "the API server"])
def test_a_clock_a_month_ahead_deletes_nothing(signal: SignalProcessing, ahead: str):
    local, server = (NOW + MONTH, NOW) if ahead == "this process" else (NOW, NOW + MONTH)
    now = earlier_clock(local, server)

    assert now is not None
    assert expired([signal], [a_request("rr-1", NEW)], WEEK, lambda _: True, now) == Expired()


def test_without_the_api_servers_time_nothing_is_deleted():
    assert earlier_clock(NOW, None) is None


def test_a_clock_that_was_behind_when_the_signal_ended_makes_it_no_older_than_its_object():
    signal = ended(OLD - MONTH)
    metadata = msgspec.structs.replace(signal.metadata, creation_timestamp=NEW)
    signal = msgspec.structs.replace(signal, metadata=metadata)

    assert names(sweep(signal)) == []


@pytest.mark.parametrize(
    ("told", "is_deleted"),
    [(timedelta(0), True), (-MONTH, False), (MONTH, True), (None, False)],
    ids=["as here", "a month behind: this clock is ahead", "a month ahead", "not told"],
)
async def test_sweep_asks_the_api_server_what_time_it_is(told: timedelta | None, is_deleted: bool, tmp_path: Path):
    ended_at = datetime.now(UTC) - timedelta(days=8)
    deleted: list[str] = []

    async def script(call: Call) -> None:
        if call.method == "DELETE":
            deleted.append(call.path)
        date = {} if told is None else {"date": format_datetime(datetime.now(UTC) + told, usegmt=True)}
        await call.respond({}, **date)

    async with (
        open_scripted_api(script, tmp_path) as kubeconfig,
        open_client(ClientConfig(kubeconfig=kubeconfig)) as client,
    ):
        signals = Informer(client, SIGNAL)
        signal = ended(ended_at)
        signals.observe(signal)
        retention = Retention(client, signals, None, AllAcknowledged(), RetentionMetrics(CollectorRegistry()))

        await retention.sweep(WEEK)

    assert deleted == ([SIGNAL.path(key_of(signal))] if is_deleted else [])


class AllAcknowledged:
    def is_acknowledged(self, signal: SignalProcessing) -> bool:
        return True
