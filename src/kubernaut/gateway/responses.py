"""The bodies of the gateway's responses, with the field names of the Go project."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kubernaut.api.meta import Time, Wire
from kubernaut.api.remediation import Deduplication, RemediationRequest
from kubernaut.gateway.alertmanager import Adjustment


class ResultStatus(StrEnum):
    """What became of an alert; only `failed` is worth another delivery."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    IGNORED = "ignored"
    FAILED = "failed"


class Reason(StrEnum):
    """Why an alert is rejected or failed."""

    INVALID = "invalid-alert"
    NO_TARGET = "no-target"
    KUBERNETES = "kubernetes-api"
    TIMEOUT = "timeout"
    AUDIT = "audit-spool"
    DEFECT = "defect"
    """An error of the gateway itself."""


class RequestReference(Wire, frozen=True):
    name: str
    namespace: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one alert."""

    status: ResultStatus
    name: str
    message: str
    fingerprint: str = ""
    reference: RequestReference | None = None
    """The request that the alert is counted on."""

    deduplication: Deduplication | None = None
    """What the request had counted then."""

    retry_after: float = 0.0
    reason: Reason | None = None
    """Of a rejected or failed one."""

    adjustments: tuple[Adjustment, ...] = ()
    """What is stored in another form than it came in."""


class Metadata(Wire, frozen=True):
    """How often the signal has come in."""

    count: int = 0
    first_occurrence: Time | None = None
    last_occurrence: Time | None = None
    remediation_request_ref: RequestReference | None = None


class SignalResponse(Wire, frozen=True):
    """The response to a notification of one alert."""

    status: ResultStatus
    message: str
    duplicate: bool
    fingerprint: str = ""
    remediation_request_name: str = ""
    remediation_request_namespace: str = ""
    metadata: Metadata | None = None
    adjustments: list[str] = []
    """What is stored in another form than it came in."""

    truncated_alerts: int = 0
    """Alerts of the group that the sender has left out."""


class AlertResult(Wire, frozen=True):
    """The result of one alert among several."""

    status: ResultStatus
    signal_name: str
    message: str = ""
    fingerprint: str = ""
    error: str = ""
    remediation_request_name: str = ""
    adjustments: list[str] = []
    """What is stored in another form than it came in."""


class Summary(Wire, frozen=True, omit_defaults=False):
    total: int
    created: int
    deduplicated: int
    resolved: int
    rejected: int
    ignored: int
    failed: int


class BatchResponse(Wire, frozen=True):
    """The response to a notification of several alerts, in their order."""

    results: list[AlertResult]
    summary: Summary
    truncated_alerts: int = 0
    """Alerts of the group that the sender has left out."""


def reference_to(request: RemediationRequest) -> RequestReference:
    """The request as a response names it."""
    return RequestReference(name=request.metadata.name, namespace=request.metadata.namespace)


def signal_response(result: Result, truncated_alerts: int) -> SignalResponse:
    reference, deduplication = result.reference, result.deduplication
    return SignalResponse(
        status=result.status,
        message=result.message,
        fingerprint=result.fingerprint,
        duplicate=result.status is ResultStatus.DUPLICATE,
        remediation_request_name=reference.name if reference else "",
        remediation_request_namespace=reference.namespace if reference else "",
        metadata=Metadata(
            count=deduplication.occurrence_count,
            first_occurrence=deduplication.first_seen_at,
            last_occurrence=deduplication.last_seen_at,
            remediation_request_ref=reference,
        )
        if deduplication
        else None,
        adjustments=list(map(str, result.adjustments)),
        truncated_alerts=truncated_alerts,
    )


def batch_response(results: Sequence[Result], truncated_alerts: int) -> BatchResponse:
    count = Counter(result.status for result in results)
    summary = Summary(
        total=len(results),
        created=count[ResultStatus.CREATED],
        deduplicated=count[ResultStatus.DUPLICATE],
        resolved=count[ResultStatus.RESOLVED],
        rejected=count[ResultStatus.REJECTED],
        ignored=count[ResultStatus.IGNORED],
        failed=count[ResultStatus.FAILED],
    )
    return BatchResponse(
        results=[_alert_result(result) for result in results], summary=summary, truncated_alerts=truncated_alerts
    )


def _alert_result(result: Result) -> AlertResult:
    is_error = result.status in (ResultStatus.FAILED, ResultStatus.REJECTED)
    return AlertResult(
        status=result.status,
        signal_name=result.name,
        fingerprint=result.fingerprint,
        message="" if is_error else result.message,
        error=result.message if is_error else "",
        remediation_request_name=result.reference.name if result.reference else "",
        adjustments=list(map(str, result.adjustments)),
    )
