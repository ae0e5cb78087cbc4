"""What can go wrong on the way of an event to the store; the only place that knows status codes."""

import httpx2
import msgspec

from kubernaut.api.problems import PREFIX, Problem, Slug


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


class StoreBusy(StoreError):
    """The store asked to come back later (429, 503)."""


class StoreUnauthorized(StoreError):
    """The store does not know who asks, or does not allow it (401, 403)."""


class RequestTooLarge(StoreError):
    """The request was too large: too many bytes (413), or too many events."""


class StoreRejected(StoreError):
    """The content of the request is wrong, and sending it again will not help (400, 409, 422)."""


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

_MAX_TEXT_LENGTH = 2000
_problem = msgspec.json.Decoder(Problem)


def check(response: httpx2.Response) -> None:
    """Raise the error that the answer stands for, with the words of its problem document; do nothing on a 2xx."""
    if response.is_success:
        return
    error = _BY_STATUS.get(response.status_code, StoreError)
    index = None
    text = f"Data Storage Service returned status {response.status_code}: {response.reason_phrase}"
    try:
        problem = _problem.decode(response.content)
    except msgspec.DecodeError:
        pass
    else:
        index = problem.index
        if problem.type == PREFIX + Slug.BATCH_SIZE:
            error = RequestTooLarge
        fields = "; ".join(f"{name}: {reason}" for name, reason in problem.field_errors.items())
        text = "; ".join(part for part in (f"{text}: {problem.detail or problem.title}", fields) if part)
    raise error(text[:_MAX_TEXT_LENGTH], status=response.status_code, retry_after=_retry_after(response), index=index)


def _retry_after(response: httpx2.Response) -> float | None:
    # The date form is not used by our stores; whoever sends it gets our own back-off.
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
