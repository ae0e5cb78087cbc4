"""The audit events of the gateway. Pure: the same object and notification give the same events, to the byte.

So a notification that is delivered twice, or an object that is read again after a crash, leaves one event in the store.
"""

from datetime import datetime
from uuid import UUID, uuid5

import msgspec

from kubernaut.api import limits
from kubernaut.api.events import AuditEvent, GatewayPayload
from kubernaut.api.meta import is_truncated
from kubernaut.api.remediation import REMEDIATION_KIND, RemediationRequest
from kubernaut.api.signals import Target
from kubernaut.api.vocabulary import EventOutcome, EventType
from kubernaut.gateway.alertmanager import TYPE
from kubernaut.gateway.mapped_alert import ReceivedAlert
from kubernaut.gateway.occurrences import Occurrence

CATEGORY = "gateway"
ACTOR = "gateway-service"


def received_event(request: RemediationRequest) -> AuditEvent | None:
    """That the request's signal was received; None before it was counted."""
    deduplication = request.status.deduplication
    if deduplication is None or deduplication.first_seen_at is None:
        return None
    spec = request.spec
    payload = _payload(request, EventType.SIGNAL_RECEIVED)
    payload = msgspec.structs.replace(
        payload, signal_name=spec.signal_name, severity=spec.severity, deduplication_status="new"
    )
    event = _event(request, spec.target_resource, payload, "received", deduplication.first_seen_at)
    return msgspec.structs.replace(event, if_absent=is_truncated(deduplication.first_seen_at) or None)


def occurrence_event(request: RemediationRequest, received: ReceivedAlert, occurrence: Occurrence) -> AuditEvent:
    """That an alert was folded: one more occurrence, with its own name, severity, labels and target."""
    payload = _payload_of(request, received)
    payload = msgspec.structs.replace(payload, deduplication_status="duplicate", occurrence_count=occurrence.number)
    identity = f"deduplicated/{occurrence.number}"
    return _event(request, received.signal.target_resource, payload, identity, occurrence.received)


def resolved_event(request: RemediationRequest, received: ReceivedAlert, at: datetime) -> AuditEvent:
    """That one of the request's alerts is resolved: one more notification of a known signal, with `alert_status`."""
    payload = _payload_of(request, received)
    payload = msgspec.structs.replace(payload, alert_status="resolved", resolved_at=at.isoformat())
    # What it is about may be gone by now, and each delivery must give the same event.
    return _event(request, request.spec.target_resource, payload, f"resolved/{received.alert.id}/{at.isoformat()}", at)


def _payload_of(request: RemediationRequest, received: ReceivedAlert) -> GatewayPayload:
    payload = _payload(request, EventType.SIGNAL_DEDUPLICATED)
    signal = received.signal
    return msgspec.structs.replace(
        payload, signal_name=signal.name, severity=signal.severity, signal_labels=signal.labels
    )


def _payload(request: RemediationRequest, type: EventType) -> GatewayPayload:
    return GatewayPayload(
        event_type=type,
        signal_type=TYPE,
        signal_name="",
        namespace="",
        fingerprint=request.spec.signal_fingerprint or "",
        remediation_request=request.metadata.name,
        remediation_request_namespace=request.metadata.namespace or None,
    )


def _event(
    request: RemediationRequest, target: Target | None, payload: GatewayPayload, identity: str, at: datetime
) -> AuditEvent:
    """`identity` tells the events of one request apart."""
    metadata = request.metadata
    about = target or Target(kind="", name="")
    payload = msgspec.structs.replace(
        payload, namespace=about.namespace, resource_kind=about.kind, resource_name=about.name
    )
    # Without a target the event is about the request itself.
    kind, name = (target.kind, target.name) if target and target.name else (REMEDIATION_KIND, metadata.name)
    namespace = target.namespace if target and target.name else metadata.namespace
    return AuditEvent(
        event_id=uuid5(UUID(metadata.uid), identity),
        event_type=payload.event_type,
        event_timestamp=at,
        event_category=CATEGORY,
        event_action=payload.alert_status or payload.event_type.rpartition(".")[2],
        event_outcome=EventOutcome.SUCCESS,
        correlation_id=metadata.name,
        actor_type="service",
        actor_id=ACTOR,
        resource_type=limits.truncate(kind, limits.MAX_RESOURCE_TYPE),
        resource_id=limits.truncate(name, limits.MAX_RESOURCE_ID),
        resource_name=limits.truncate(name, limits.MAX_RESOURCE_NAME),
        namespace=limits.truncate(namespace, limits.MAX_NAMESPACE) or None,
        event_data=msgspec.Raw(msgspec.json.encode(limits.truncate_payload(payload))),
    )
