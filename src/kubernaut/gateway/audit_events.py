"""The audit events of the gateway. Pure: the same object and notification give the same events, to the byte.

So a notification that is delivered twice, or an object that is read again after a crash, leaves one event in the store.
"""

from datetime import datetime
from uuid import UUID, uuid5

import msgspec

from kubernaut.api import limits
from kubernaut.api.events import AuditEvent, GatewayPayload
from kubernaut.api.remediation import REMEDIATION_KIND, RemediationRequest
from kubernaut.api.signals import Target
from kubernaut.api.vocabulary import EventOutcome, EventType
from kubernaut.gateway.alertmanager import TYPE, Alert

CATEGORY = "gateway"
ACTOR = "gateway-service"


def events_of(request: RemediationRequest, recorded_count: int = 0) -> list[AuditEvent]:
    """What the object says has happened: that it was received, and how often it was deduplicated, as of now.

    The first is left out when `recorded_count`, the count that was recorded before, shows that it was recorded.
    """
    deduplication = request.status.deduplication
    if deduplication is None or deduplication.first_seen_at is None or deduplication.last_seen_at is None:
        return []
    events = []
    if not recorded_count:
        payload = _payload(request, EventType.SIGNAL_RECEIVED)
        payload = msgspec.structs.replace(payload, deduplication_status="new")
        events.append(_event(request, payload, "received", deduplication.first_seen_at))
    count = deduplication.occurrence_count
    if count > 1:
        payload = _payload(request, EventType.SIGNAL_DEDUPLICATED)
        payload = msgspec.structs.replace(payload, deduplication_status="duplicate", occurrence_count=count)
        events.append(_event(request, payload, f"deduplicated/{count}", deduplication.last_seen_at))
    return events


def resolved_event(request: RemediationRequest, alert: Alert, at: datetime) -> AuditEvent:
    """That one of the request's alerts is resolved: one more notification of a known signal, with `alert_status`."""
    payload = _payload(request, EventType.SIGNAL_DEDUPLICATED)
    payload = msgspec.structs.replace(
        payload, signal_name=alert.name, alert_status="resolved", resolved_at=at.isoformat()
    )
    return _event(request, payload, f"resolved/{alert.id}/{at.isoformat()}", at)


def _payload(request: RemediationRequest, type: EventType) -> GatewayPayload:
    spec = request.spec
    target = spec.target_resource or Target(kind="", name="")
    return GatewayPayload(
        event_type=type,
        signal_type=TYPE,
        signal_name=spec.signal_name,
        namespace=target.namespace,
        fingerprint=spec.signal_fingerprint or "",
        severity=spec.severity,
        resource_kind=target.kind,
        resource_name=target.name,
        remediation_request=request.metadata.name,
        remediation_request_namespace=request.metadata.namespace or None,
    )


def _event(request: RemediationRequest, payload: GatewayPayload, identity: str, at: datetime) -> AuditEvent:
    """`identity` tells the events of one request apart."""
    metadata, target = request.metadata, request.spec.target_resource
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
