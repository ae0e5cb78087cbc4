"""A finished signal as a CloudEvent 1.0, in structured JSON mode, and its signature. Pure.

The id is derived from the object and its end, so that a receiver knows an event that it has already. The signature is
that of Standard Webhooks: HMAC-SHA256 over id, time and body, so that nobody can send, change or replay one.
"""

import base64
import hashlib
import hmac
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from kubernaut.api.signals import SignalProcessing
from kubernaut.api.summaries import team

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX = "ai.kubernaut.signal."
SECRET_PREFIX = "whsec_"  # noqa: S105 - what stands in front of a secret
MAX_TEXT = 4096
"""Characters of one label or annotation in an event; longer ones end with an ellipsis."""

_NAMESPACE = uuid.UUID("6f0a4b63-8f5c-5f0e-9b0e-2f5e4d0c7a11")


def event_id(signal: SignalProcessing) -> str:
    """The same for one end of one object, whoever derives it."""
    ended = signal.status.completion_time
    return str(
        uuid.uuid5(_NAMESPACE, f"{signal.metadata.uid}:{signal.status.phase}:{ended.isoformat() if ended else ''}")
    )


def encode(signal: SignalProcessing, cluster: str = "") -> bytes:
    """The event of a signal in a final phase."""
    target, status = signal.spec.signal.target_resource, signal.status
    where = f"/clusters/{cluster}" if cluster else ""
    event = {
        "specversion": "1.0",
        "id": event_id(signal),
        "source": f"{where}/namespaces/{signal.metadata.namespace}/signalprocessings/{signal.metadata.name}",
        "type": TYPE_PREFIX + str(status.phase).lower(),
        "subject": "/".join(part for part in (target.namespace, target.kind, target.name) if part),
        "time": _time(status.completion_time),
        "datacontenttype": "application/json",
        # Extension attributes, so that a router need not read the data.
        "priority": status.priority_assignment and status.priority_assignment.priority,
        "environment": status.environment_classification and status.environment_classification.environment,
        "severity": status.signal_classification and status.signal_classification.severity,
        "team": team(signal),
        "correlationid": signal.spec.remediation_request_ref.name,
        "data": _data(signal),
    }
    return msgspec.json.encode({name: value for name, value in event.items() if value not in (None, "")})


def sign(secret: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` of Standard Webhooks."""
    digest = hmac.new(secret, f"{identifier}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def secret_of(text: str) -> bytes:
    """The key of a secret's text: Base64 behind `whsec_`, else the text itself. Raises ValueError."""
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    if text.startswith(SECRET_PREFIX):
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    return text.encode()


def _data(signal: SignalProcessing) -> dict[str, Any]:
    alert, status = signal.spec.signal, signal.status
    environment, priority = status.environment_classification, status.priority_assignment
    classification, business = status.signal_classification, status.business_classification
    context = status.kubernetes_context
    return {
        "name": signal.metadata.name,
        "namespace": signal.metadata.namespace,
        "uid": signal.metadata.uid,
        "correlationId": signal.spec.remediation_request_ref.name,
        "phase": status.phase,
        "alert": {
            "name": alert.name,
            "severity": alert.severity,
            "source": alert.source,
            "fingerprint": alert.fingerprint,
            "clusterId": alert.cluster_id,
            "firingTime": _time(alert.firing_time),
            "receivedTime": _time(alert.received_time),
            "labels": _shortened(alert.labels),
            "annotations": _shortened(alert.annotations),
        },
        "target": msgspec.to_builtins(alert.target_resource),
        "decision": {
            "environment": environment and environment.environment,
            "environmentSource": environment and environment.source,
            "severity": classification and classification.severity,
            "priority": priority and priority.priority,
            "prioritySource": priority and priority.source,
            "policyName": priority and priority.policy_name,
            "policyHash": classification and classification.policy_hash,
            "mode": classification and classification.signal_mode,
            "businessUnit": business and business.business_unit,
            "criticality": business and business.criticality,
            "sla": business and business.sla_requirement,
            "labels": context.custom_labels if context else {},
            "degraded": bool(context and context.degraded_mode),
        },
        "owners": [f"{owner.kind}/{owner.name}" for owner in context.owner_chain] if context else [],
        "error": status.failure_info.error if status.failure_info else "",
        "startTime": _time(status.start_time),
        "completionTime": _time(status.completion_time),
    }


def _shortened(texts: dict[str, str]) -> dict[str, str]:
    return {name: text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…" for name, text in texts.items()}


def _time(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None
