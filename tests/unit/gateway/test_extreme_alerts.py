"""Nothing that the gateway accepts ends in quarantine: every audit event of it is one that DataStorage admits."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from kubernaut.api.events import AuditEvent
from kubernaut.api.meta import Condition, ConditionStatus, ObjectMeta
from kubernaut.api.remediation import Deduplication, RemediationRequest, RemediationSpec, RemediationStatus
from kubernaut.api.signals import (
    BusinessClassification,
    EnvironmentClassification,
    FailureInfo,
    ParentReference,
    PriorityAssignment,
    Signal,
    SignalClassification,
    SignalProcessing,
    SignalSpec,
    SignalStatus,
    Target,
)
from kubernaut.api.vocabulary import ConditionType, Environment, Phase, Priority, Severity
from kubernaut.datastorage import intake
from kubernaut.gateway import audit_events as gateway_events
from kubernaut.gateway.alertmanager import Alert, signal_of
from kubernaut.gateway.decoder import decode
from kubernaut.gateway.mapped_alert import MappedAlert, ReceivedAlert
from kubernaut.gateway.occurrences import Occurrence
from kubernaut.gateway.targets import ResolvedObject
from kubernaut.signalprocessing import audit_events as signal_events
from support.alerts import LONG_AGO, a_webhook, an_alert

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
UID = "8a1d8f5e-0000-4000-8000-000000000001"

LONG = ["x" * 300_000, "\U0001f6a8" * 70_000, "\a" * 70_000, "\0" * 70_000, "\\\"'" * 30_000, "ü\ud800" * 9_000]


def extreme_alerts() -> list[dict[str, Any]]:
    alerts = [
        an_alert(namespace="shop") | {"labels": {}},
        an_alert() | {"labels": {f"label-{number}": f"value-{number}" for number in range(5000)}},
        an_alert() | {"labels": {"x" * 64_000 + str(number): "y" * 64_000 for number in range(5)}},
    ]
    for text in LONG:
        alerts += [
            an_alert(text, severity=text, namespace=text, pod=text, cluster=text),
            an_alert(**{text: text}) | {"annotations": {text: text}, "generatorURL": text, "fingerprint": text},
        ]
    for time in (LONG_AGO, "9999-12-31T23:59:59.999999Z", "1492-10-12T00:00:00Z", "1970-01-01T00:00:00Z", text):
        alerts += [an_alert(starts_at=time), an_alert(resolved=True, starts_at=time, ends_at=time)]
    return alerts


def a_request(signal: Signal, count: int) -> RemediationRequest:
    return RemediationRequest(
        metadata=ObjectMeta(name="rr-1", namespace="kubernaut", uid=UID),
        spec=RemediationSpec(
            signal_name=signal.name,
            signal_fingerprint=signal.fingerprint,
            severity=signal.severity,
            target_resource=signal.target_resource,
        ),
        status=RemediationStatus(
            deduplication=Deduplication(
                occurrence_count=count, first_seen_at=NOW, last_seen_at=NOW, signal_names=[signal.name]
            )
        ),
    )


def a_decided(signal: Signal, text: str, phase: Phase) -> SignalProcessing:
    """What the controller makes of a signal, with a policy and labels that answer `text` wherever they can."""
    conditions = [
        Condition(type=type, status=ConditionStatus.TRUE, reason="x", message="y", last_transition_time=NOW)
        for type in (ConditionType.ENRICHMENT, ConditionType.CLASSIFICATION, ConditionType.CATEGORIZATION)
    ]
    status = SignalStatus(
        phase=phase,
        start_time=NOW - timedelta(days=365 * 40),
        completion_time=NOW,
        conditions=conditions,
        environment_classification=EnvironmentClassification(
            environment=Environment.PRODUCTION, source=text, classified_at=NOW
        ),
        priority_assignment=PriorityAssignment(
            priority=Priority.P0, source=text, assigned_at=NOW, policy_name=text
        ),
        business_classification=BusinessClassification(business_unit=text, service_owner=text),
        signal_classification=SignalClassification(
            severity=Severity.CRITICAL, severity_source=text, signal_name=text, source_signal_name=text
        ),
        failure_info=FailureInfo(error=text, consecutive_failures=3, last_failure_time=NOW),
    )  # fmt: skip
    return SignalProcessing(
        metadata=ObjectMeta(name="sp-rr-1", namespace="kubernaut", uid=UID, creation_timestamp=NOW),
        spec=SignalSpec(remediation_request_ref=ParentReference(name="rr-1"), signal=signal),
        status=status,
    )


def admitted(events: list[AuditEvent]) -> int:
    """How many events DataStorage admits, which is all of them; else this raises."""
    body = msgspec.json.encode(events)
    return len(intake.admit(body, NOW + timedelta(seconds=1), len(events)))


def events_of_gateway(
    request: RemediationRequest, alert: Alert, signal: Signal, ended_at: datetime
) -> list[AuditEvent]:
    """That it was received, folded, and resolved."""
    mapped = MappedAlert(signal=signal, owner=signal.target_resource, fold_key="key")
    received = ReceivedAlert(index=0, alert=alert, mapped=mapped)
    occurrence = Occurrence(alert_id=alert.id, number=2**31, received_at=int(NOW.timestamp() * 1000))
    first = gateway_events.received_event(request)
    assert first is not None
    return [
        first,
        gateway_events.occurrence_event(request, received, occurrence),
        gateway_events.resolved_event(request, received, ended_at),
    ]


def a_signal_of(alert: Alert, target: Target) -> Signal:
    webhook = decode(json.dumps(a_webhook(an_alert(), groupKey=LONG[0], externalURL=LONG[1])).encode())
    return signal_of(alert, webhook, ResolvedObject(target=target, owner=target), NOW)


@pytest.mark.parametrize("index", range(len(extreme_alerts())))
def test_every_audit_event_of_an_extreme_alert_is_admitted(index):
    (alert,) = decode(json.dumps(a_webhook(extreme_alerts()[index])).encode()).alerts
    assert isinstance(alert, Alert)
    name = next(iter(alert.labels.values()), "cart")[:253] or "cart"
    signal = a_signal_of(alert, Target(kind="Pod", name=name, namespace="shop"))

    request = a_request(signal, 2**31)
    ended_at = min(alert.ended_at or NOW, NOW)
    events = events_of_gateway(request, alert, signal, ended_at)
    for phase in (Phase.COMPLETED, Phase.FAILED, Phase.CLASSIFYING):
        events += signal_events.events_of(a_decided(signal, alert.name, phase))

    assert admitted(events) == len(events) >= 11
    # The API server stores an object of at most 1.5 MiB.
    assert len(msgspec.json.encode(signal)) < 2**20


@pytest.mark.parametrize("text", LONG)
def test_every_audit_event_of_a_signal_that_somebody_else_created_is_admitted(text):
    text = text.replace("\ud800", "\ufffd")
    target = Target(kind=text, name=text, namespace=text)
    signal = msgspec.structs.replace(
        a_signal_of(Alert(status="firing", labels={}), target), severity=text, name=text[:253], cluster_id=text[:253]
    )

    for phase in (Phase.COMPLETED, Phase.FAILED):
        events = signal_events.events_of(a_decided(signal, text, phase))
        assert admitted(events) == len(events) > 2


def test_random_alerts_of_any_size_are_admitted():
    chance = random.Random(7)
    for _ in range(30):
        labels = {
            chance.choice(LONG)[: chance.randrange(9000)]: chance.choice(LONG) for _ in range(chance.randrange(9))
        }
        (alert,) = decode(json.dumps(a_webhook(an_alert() | {"labels": labels})).encode()).alerts
        assert isinstance(alert, Alert)
        signal = a_signal_of(alert, Target(kind="Pod", name="cart"))

        assert admitted(events_of_gateway(a_request(signal, 3), alert, signal, NOW)) == 3
