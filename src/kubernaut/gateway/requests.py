"""`RemediationRequest` objects: which one is open, what to create, how to count. Pure.

A request is open while alerts are counted on it. Where an orchestrator processes requests, it is open until its phase
is final. Where none does, it is open until the last of its alerts is resolved, or until `resolve_timeout` has passed
since the last one, because a notification may get lost.
"""

import hashlib
from collections.abc import Iterable
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
    FINALIZER,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    ParentReference,
    SignalProcessing,
    SignalSpec,
)
from kubernaut.api.summaries import occurrence_count
from kubernaut.api.vocabulary import Label
from kubernaut.gateway.mapped_alert import MappedAlert
from kubernaut.kube.objects import Kind

REQUESTS = Kind(group=GROUP, version=VERSION, kind=REMEDIATION_KIND, plural=REMEDIATION_PLURAL, type=RemediationRequest)
SIGNALS = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)

FINGERPRINT_LABEL = "kubernaut.ai/signal-fingerprint"
LABELS = {"app.kubernetes.io/managed-by": "gateway-service", "app.kubernetes.io/component": "remediation"}

_FINAL_PHASES = {"Completed", "Failed", "TimedOut", "Skipped", "Cancelled"}
_MAX_NOTE_LENGTH = 1000


def fingerprint_label(fingerprint: str) -> str:
    """The fingerprint as a label value, which has at most 63 characters."""
    return fingerprint[:63]


def fold_key_of(request: RemediationRequest) -> str:
    return request.metadata.labels.get(Label.FOLD_KEY, "")


def selector(fold_key: str) -> str:
    """Label selector of the requests on which alerts of that key are counted."""
    return f"{Label.FOLD_KEY.value}={fold_key}"


def is_open(request: RemediationRequest, now: datetime, resolve_timeout: float) -> bool:
    """Whether further alerts are counted on it."""
    if request.metadata.deletion_timestamp is not None or Label.SUPERSEDED_BY in request.metadata.annotations:
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


def not_superseded(requests: Iterable[RemediationRequest]) -> list[RemediationRequest]:
    """Those that no other one supersedes; the annotation of the superseded one is written later than this one's."""
    known = list(requests)
    superseded = {request.metadata.annotations.get(Label.SUPERSEDES) for request in known}
    return [request for request in known if request.metadata.name not in superseded]


def name_of(mapped: MappedAlert, previous: RemediationRequest | None, now: datetime) -> str:
    """The name of the next request of a fold key: the same for every replica, so that only one can create it.

    It follows from the request before it. Where there is none, from the hour, so that a name does not come back
    when old requests have been deleted.
    """
    before = previous.metadata.uid if previous else now.strftime("%Y-%m-%dT%H")
    suffix = hashlib.sha256(f"{mapped.fold_key}:{before}".encode()).hexdigest()[:8]
    return f"rr-{mapped.signal.fingerprint[:12]}-{suffix}"


def new_request(name: str, namespace: str, mapped: MappedAlert, supersedes: str = "") -> RemediationRequest:
    """The request about a signal; what is to be remedied is the owner of its target."""
    signal = mapped.signal
    labels = {FINGERPRINT_LABEL: fingerprint_label(signal.fingerprint), Label.FOLD_KEY.value: mapped.fold_key}
    return RemediationRequest(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            labels=LABELS | labels,
            annotations={Label.SUPERSEDES.value: supersedes} if supersedes else {},
        ),
        spec=RemediationSpec(
            signal_name=signal.name,
            signal_fingerprint=signal.fingerprint,
            severity=signal.severity,
            signal_type=signal.type,
            signal_source=signal.source,
            target_type=signal.target_type,
            target_resource=mapped.owner,
            firing_time=signal.firing_time or signal.received_time,
            received_time=signal.received_time,
        ),
    )


def signal_name_of(request: RemediationRequest) -> str:
    return f"sp-{request.metadata.name}"


def new_signal(
    request: RemediationRequest, mapped: MappedAlert, deduplication: Deduplication, *, has_finalizer: bool
) -> SignalProcessing:
    """The signal of a request, owned by it: deleting the request deletes it.

    With the finalizer it stays until the controller has recorded its audit events.
    """
    signal = mapped.signal
    annotations = {Label.OCCURRENCES.value: occurrence_count(deduplication)}
    annotations[Label.SUPERSEDES.value] = request.metadata.annotations.get(Label.SUPERSEDES, "")
    annotations[Label.TARGET_NOTE.value] = "; ".join(mapped.notes)[:_MAX_NOTE_LENGTH]
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
            annotations={name: text for name, text in annotations.items() if text},
            owner_references=(owner,),
            finalizers=[FINALIZER] if has_finalizer else [],
        ),
        spec=SignalSpec(remediation_request_ref=reference, signal=signal),
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
            "overflow": deduplication.overflow or None,
        }
    }
