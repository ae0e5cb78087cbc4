"""What the gateway answers, in the words of the Go project."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kubernaut.api.meta import Time, Wire
from kubernaut.api.remediation import RemediationRequest


class ResultStatus(StrEnum):
    """What became of an alert; only `failed` is worth another delivery."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    RESOLVED = "resolved"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one alert."""

    status: ResultStatus
    name: str
    message: str
    fingerprint: str = ""
    request: RemediationRequest | None = None
    retry_after: float = 0.0


class RequestReference(Wire, frozen=True):
    name: str
    namespace: str


class Metadata(Wire, frozen=True):
    """How often the signal has come in."""

    count: int = 0
    first_occurrence: Time | None = None
    last_occurrence: Time | None = None
    remediation_request_ref: RequestReference | None = None


class One(Wire, frozen=True):
    """The answer to a notification of one alert."""

    status: ResultStatus
    message: str
    duplicate: bool
    fingerprint: str = ""
    remediation_request_name: str = ""
    remediation_request_namespace: str = ""
    metadata: Metadata | None = None


class Each(Wire, frozen=True):
    """One alert of several."""

    status: ResultStatus
    signal_name: str
    message: str = ""
    fingerprint: str = ""
    error: str = ""
    remediation_request_name: str = ""


class Summary(Wire, frozen=True, omit_defaults=False):
    total: int
    created: int
    deduplicated: int
    resolved: int
    rejected: int
    failed: int


class Several(Wire, frozen=True):
    """The answer to a notification of several alerts, in their order."""

    results: list[Each]
    summary: Summary


def one(result: Result) -> One:
    request = result.request
    account = request.status.deduplication if request else None
    reference = RequestReference(name=request.metadata.name, namespace=request.metadata.namespace) if request else None
    return One(
        status=result.status,
        message=result.message,
        fingerprint=result.fingerprint,
        duplicate=result.status is ResultStatus.DUPLICATE,
        remediation_request_name=reference.name if reference else "",
        remediation_request_namespace=reference.namespace if reference else "",
        metadata=Metadata(
            count=account.occurrence_count if account else 0,
            first_occurrence=account.first_seen_at if account else None,
            last_occurrence=account.last_seen_at if account else None,
            remediation_request_ref=reference,
        )
        if reference
        else None,
    )


def several(results: Sequence[Result]) -> Several:
    count = Counter(result.status for result in results)
    summary = Summary(
        total=len(results),
        created=count[ResultStatus.CREATED],
        deduplicated=count[ResultStatus.DUPLICATE],
        resolved=count[ResultStatus.RESOLVED],
        rejected=count[ResultStatus.REJECTED],
        failed=count[ResultStatus.FAILED],
    )
    return Several(results=[_each(result) for result in results], summary=summary)


def _each(result: Result) -> Each:
    did_not_work = result.status in (ResultStatus.FAILED, ResultStatus.REJECTED)
    return Each(
        status=result.status,
        signal_name=result.name,
        fingerprint=result.fingerprint,
        message="" if did_not_work else result.message,
        error=result.message if did_not_work else "",
        remediation_request_name=result.request.metadata.name if result.request else "",
    )
