"""What can go wrong on the way of an event to the store; the only place that knows status codes."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import msgspec

from kubernaut.api.problems import CONTENT_TYPE, PREFIX, Problem, Slug
from kubernaut.ops.json_faults import JSON_FAULTS


class AuditError(Exception):
    """Something about the audit trail failed; the text says what, and what to do."""


class SpoolError(AuditError):
    """The spool's directory or file cannot be used."""


class SpoolLocked(SpoolError):
    """Another process has this spool open; give each process a directory of its own."""


class SpoolFull(AuditError):
    """The spool cannot take the events; none of them was taken."""


class StoreClosed(AuditError):
    """The audit store is closed, or belongs to the process that this one was forked from."""


class StoreError(AuditError):
    """DataStorage did not take the request; `status` is 0 when there was no answer."""

    def __init__(
        self, message: str, *, status: int = 0, retry_after: float | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds that the store asked to wait, when it did."""
        self.index = index
        """Position in the batch of the first event that the store rejected, when it named one."""


class StoreUnreachable(StoreError):
    """No answer, or none in time; what was sent may have been stored all the same."""


class TokenUnusable(StoreUnreachable):
    """The token file cannot be read, or holds no token: nobody was asked."""


class StoreNotFound(StoreError):
    """DataStorage has not what the request names (404)."""


class StoreUnrecognized(StoreError):
    """The answer is none of DataStorage's: it comes from a proxy or another server, and says nothing of the events."""


class StoreBusy(StoreError):
    """The store asked to come back later (429, 503)."""


class StoreUnauthorized(StoreError):
    """The store does not know who asks, or does not allow it (401, 403)."""


class RequestTooLarge(StoreError):
    """The request was too large: too many bytes (413), or too many events."""

    is_proxy: bool = False
    """Whether somebody on the way says so, whose limit may be another one tomorrow."""


class StoreRejected(StoreError):
    """DataStorage says that the content is wrong, and sending it again will not help (400, 409, 422)."""


_BY_STATUS: dict[int, type[StoreError]] = {
    400: StoreRejected,
    401: StoreUnauthorized,
    403: StoreUnauthorized,
    409: StoreRejected,
    413: RequestTooLarge,
    422: StoreRejected,
    429: StoreBusy,
    503: StoreBusy,
}

MIN_RETRY_AFTER = 1.0
"""Seconds to wait at least when the store names a time: 0 would be a storm of requests."""

MAX_RETRY_AFTER = 300.0
"""Seconds to wait at most, whatever the store says."""

_MAX_TEXT_LENGTH = 2000
_problem = msgspec.json.Decoder(Problem)


def check(response: httpx2.Response) -> None:
    """Raise the error that the answer stands for, with the words of its problem document; do nothing on a 2xx."""
    if response.is_success:
        return
    status = response.status_code
    text = f"Data Storage Service returned status {status}: {response.reason_phrase}"
    problem = problem_of(response)
    kind = _BY_STATUS.get(status, StoreError)
    if problem is None:
        if kind is StoreRejected or 300 <= status < 400:
            kind = StoreUnrecognized
        text += f" (no problem document of DataStorage; content type {_content_type(response) or 'missing'})"
    else:
        if problem.type == PREFIX + Slug.BATCH_SIZE:
            kind = RequestTooLarge
        elif status == 404:
            kind = StoreNotFound
        said = problem.detail or problem.title
        fields = "; ".join(f"{name}: {reason}" for name, reason in problem.field_errors.items() if reason not in said)
        reason = f"reason: {problem.reason}" if problem.reason else ""
        text = "; ".join(part for part in (f"{text}: {said}", fields, reason) if part)
    error = kind(
        text[:_MAX_TEXT_LENGTH],
        status=status,
        retry_after=retry_after(response.headers.get("retry-after", ""), datetime.now(UTC)),
        index=problem.index if problem else None,
    )
    if isinstance(error, RequestTooLarge):
        error.is_proxy = problem is None
    raise error


def problem_of(response: httpx2.Response) -> Problem | None:
    """The problem document of DataStorage; None when the body is something else."""
    if _content_type(response) != CONTENT_TYPE:
        return None
    try:
        problem = _problem.decode(response.content)
    except JSON_FAULTS:
        return None
    return problem if problem.type.startswith(PREFIX) else None


def _content_type(response: httpx2.Response) -> str:
    text: str = response.headers.get("content-type", "")
    return text.partition(";")[0].strip().lower()


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait, within bounds; None when it says nothing that can be read."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    if math.isnan(seconds):
        return None
    return min(max(seconds, MIN_RETRY_AFTER), MAX_RETRY_AFTER)
