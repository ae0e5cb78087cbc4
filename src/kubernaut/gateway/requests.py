"""`RemediationRequest` objects: which one is open, what to create, how to count. Pure.

A request is open while alerts are counted on it. Where an orchestrator processes requests, it is open until its phase
is final. Where none does, it is open until the last of its alerts is resolved, or until `resolve_timeout` has passed
since the last one, because a notification may get lost.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from kubernaut.api.meta import ObjectMeta, OwnerReference
from kubernaut.api.remediation import (
    REMEDIATION_KIND,
    REMEDIATION_PLURAL,
    Deduplication,
    RemediationRequest,
    RemediationSpec,
)
from kubernaut.api.signals import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    ParentReference,
    Signal,
    SignalProcessing,
    SignalSpec,
    Target,
)
from kubernaut.api.vocabulary import Label
from kubernaut.gateway.alertmanager import Alert
from kubernaut.kube.objects import Kind

REQUESTS = Kind(group=GROUP, version=VERSION, kind=REMEDIATION_KIND, plural=REMEDIATION_PLURAL, type=RemediationRequest)
SIGNALS = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)

FINGERPRINT_LABEL = "kubernaut.ai/signal-fingerprint"
LABELS = {"app.kubernetes.io/managed-by": "gateway-service", "app.kubernetes.io/component": "remediation"}

_FINAL_PHASES = {"Completed", "Failed", "TimedOut", "Skipped", "Cancelled"}
_MAX_SIGNAL_NAMES = 50
_MAX_FIRING = 1000
_MAX_NOTE_LENGTH = 1000


def fingerprint_label(fingerprint: str) -> str:
    """The fingerprint as a label value, which has at most 63 characters."""
    return fingerprint[:63]


def selector(fingerprint: str) -> str:
    """Label selector of the requests about one workload."""
    return f"{FINGERPRINT_LABEL}={fingerprint_label(fingerprint)}"


def is_open(request: RemediationRequest, now: datetime, resolve_timeout: float) -> bool:
    """Whether further alerts are counted on it."""
    if request.metadata.deletion_timestamp is not None:
        return False
    phase = request.status.overall_phase
    if phase:
        return phase not in _FINAL_PHASES
    if Label.RESOLVED_AT in request.metadata.annotations:
        return False
    deduplication = request.status.deduplication
    last_seen_at = deduplication.last_seen_at if deduplication else None
    return last_seen_at is None or now - last_seen_at < timedelta(seconds=resolve_timeout)


def newest(requests: Iterable[RemediationRequest]) -> RemediationRequest | None:
    return max(
        requests, key=lambda request: (str(request.metadata.creation_timestamp), request.metadata.name), default=None
    )


def name_of(fingerprint: str, previous: RemediationRequest | None, now: datetime) -> str:
    """The name of the next request about a workload: the same for every replica, so that only one can create it.

    It follows from the request before it. Where there is none, from the hour, so that a name does not come back
    when old requests have been deleted.
    """
    before = previous.metadata.uid if previous else now.strftime("%Y-%m-%dT%H")
    suffix = hashlib.sha256(f"{fingerprint}:{before}".encode()).hexdigest()[:8]
    return f"rr-{fingerprint[:12]}-{suffix}"


def new_request(name: str, namespace: str, signal: Signal, owner: Target) -> RemediationRequest:
    """The request about a signal; what is to be remedied is the owner of its target."""
    return RemediationRequest(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            labels={**LABELS, FINGERPRINT_LABEL: fingerprint_label(signal.fingerprint)},
        ),
        spec=RemediationSpec(
            signal_name=signal.name,
            signal_fingerprint=signal.fingerprint,
            severity=signal.severity,
            target_resource=owner,
        ),
    )


def signal_name_of(request: RemediationRequest) -> str:
    return f"sp-{request.metadata.name}"


def new_signal(request: RemediationRequest, signal: Signal, notes: Sequence[str] = ()) -> SignalProcessing:
    """The signal of a request, owned by it: deleting the request deletes it."""
    parent = request.metadata
    owner = OwnerReference(
        api_version=API_VERSION,
        kind=REMEDIATION_KIND,
        name=parent.name,
        uid=parent.uid,
        controller=True,
        block_owner_deletion=True,
    )
    reference = ParentReference(
        api_version=API_VERSION, kind=REMEDIATION_KIND, name=parent.name, namespace=parent.namespace, uid=parent.uid
    )
    return SignalProcessing(
        metadata=ObjectMeta(
            name=signal_name_of(request),
            namespace=parent.namespace,
            labels={**LABELS, FINGERPRINT_LABEL: fingerprint_label(signal.fingerprint)},
            annotations={Label.TARGET_NOTE.value: "; ".join(notes)[:_MAX_NOTE_LENGTH]} if notes else {},
            owner_references=(owner,),
        ),
        spec=SignalSpec(remediation_request_ref=reference, signal=signal),
    )


def count_occurrences(request: RemediationRequest, alerts: Sequence[Alert], now: datetime) -> Deduplication:
    """The request's deduplication status after these alerts were received, once each."""
    before = request.status.deduplication
    names = [*(before.signal_names if before else ()), *(alert.name for alert in alerts)]
    firing = [*(before.firing if before else ()), *(alert.id for alert in alerts)]
    return Deduplication(
        occurrence_count=(before.occurrence_count if before else 0) + len(alerts),
        first_seen_at=before.first_seen_at if before and before.first_seen_at else now,
        last_seen_at=now,
        signal_names=[*dict.fromkeys(names)][:_MAX_SIGNAL_NAMES],
        firing=[*dict.fromkeys(firing)][:_MAX_FIRING],
    )


def deduplication_patch(deduplication: Deduplication) -> dict[str, object]:
    """A merge patch of the status; every list is written, empty ones too."""
    return {
        "deduplication": {
            "occurrenceCount": deduplication.occurrence_count,
            "firstSeenAt": deduplication.first_seen_at,
            "lastSeenAt": deduplication.last_seen_at,
            "signalNames": deduplication.signal_names,
            "firing": deduplication.firing,
        }
    }
