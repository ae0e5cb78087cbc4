"""The audit events of the gateway. Pure: the same object and notice give the same events, to the byte.

So a notice that is delivered twice, or an object that is read again after a crash, leaves one event in the store.
"""

from datetime import datetime
from uuid import UUID, uuid5

import msgspec

from kubernaut.api.events import AuditEvent, GatewayPayload
from kubernaut.api.remediation import REMEDIATION_KIND, RemediationRequest
from kubernaut.api.signals import Target
from kubernaut.api.vocabulary import EventOutcome, EventType
from kubernaut.gateway.alertmanager import TYPE, Alert

CATEGORY = "gateway"
ACTOR = "gateway-service"


def events_of(request: RemediationRequest, since: int = 0) -> list[AuditEvent]:
    """What the object says has happened: that it was received, and how often it came again, as of now.

    The first is left out when `since`, the count that was recorded before, says that it is known.
    """
    account = request.status.deduplication
    if account is None or account.first_seen_at is None or account.last_seen_at is None:
        return []
    events = []
    if not since:
        events.append(_event(request, EventType.SIGNAL_RECEIVED, "received", account.first_seen_at, status="new"))
    count = account.occurrence_count
    if count > 1:
        again = _event(
            request,
            EventType.SIGNAL_DEDUPLICATED,
            f"deduplicated/{count}",
            account.last_seen_at,
            status="duplicate",
            count=count,
        )
        events.append(again)
    return events


def resolved_event(request: RemediationRequest, alert: Alert, at: datetime) -> AuditEvent:
    """That one of the request's alerts is over."""
    identity = f"resolved/{alert.id}/{at.isoformat()}"
    return _event(request, EventType.SIGNAL_RESOLVED, identity, at, name=alert.name, resolved_at=at.isoformat())


def _event(
    request: RemediationRequest,
    type: EventType,
    identity: str,
    at: datetime,
    *,
    status: str | None = None,
    count: int | None = None,
    name: str = "",
    resolved_at: str | None = None,
) -> AuditEvent:
    spec, metadata = request.spec, request.metadata
    target = spec.target_resource or Target(kind="", name="")
    payload = GatewayPayload(
        event_type=type,
        signal_type=TYPE,
        signal_name=name or spec.signal_name,
        namespace=target.namespace,
        fingerprint=spec.signal_fingerprint or "",
        severity=spec.severity,
        resource_kind=target.kind,
        resource_name=target.name,
        remediation_request=metadata.name,
        deduplication_status=status,
        occurrence_count=count,
        resolved_at=resolved_at,
    )
    return AuditEvent(
        event_id=uuid5(UUID(metadata.uid), identity),
        event_type=type,
        event_timestamp=at,
        event_category=CATEGORY,
        event_action=type.rpartition(".")[2],
        event_outcome=EventOutcome.SUCCESS,
        correlation_id=metadata.name,
        actor_type="service",
        actor_id=ACTOR,
        resource_type=REMEDIATION_KIND,
        resource_id=metadata.name,
        resource_name=metadata.name,
        namespace=metadata.namespace,
        event_data=msgspec.Raw(msgspec.json.encode(payload)),
    )
