"""The errors of an API server; the only module that knows status codes."""

import msgspec

from kubernaut.ops.json_faults import JSON_FAULTS


class KubeError(Exception):
    """The API server rejected a request, failed, or was unreachable. The text includes the server's own message."""

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        """The machine-readable reason of the server's Status, such as `AlreadyExists`; empty without one."""
        self.retry_after = retry_after
        """Seconds the server asked to wait; None when it did not."""


class Misconfigured(KubeError):
    """There is no usable kubeconfig; a retry does not help."""


class BadRequest(KubeError):
    """The server did not understand the request."""


class Unauthorized(KubeError):
    """The server did not accept the credentials."""


class Forbidden(KubeError):
    """The user may not do that."""


class NotFound(KubeError):
    """The object, or its whole kind, does not exist."""


class AlreadyExists(KubeError):
    """An object of this name exists."""


class Conflict(KubeError):
    """The object was changed meanwhile; read it again."""


class Gone(KubeError):
    """The resourceVersion or the continue token has expired; list again."""


class Invalid(KubeError):
    """The object violates its schema or a validation rule; the text names the fields."""


class TooManyRequests(KubeError):
    """Too many requests; wait `retry_after` seconds."""


class ServerError(KubeError):
    """The server failed while it worked on the request."""


class ApiServerUnreachable(KubeError):
    """No API server answered, or a proxy in front of it could not reach it."""


class TimedOut(ApiServerUnreachable):
    """No response in time; a write may have happened all the same."""


class IdleTimeout(TimedOut):
    """Nothing arrived on a watch for too long; it may be idle or dead, and only a new one can tell."""


_BY_STATUS: dict[int, type[KubeError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
    500: ServerError,
    502: ApiServerUnreachable,
    503: ApiServerUnreachable,
    504: TimedOut,
}


class StatusDetails(msgspec.Struct, rename="camel"):
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, rename="camel"):
    """The server's description of a failure."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


_decoder = msgspec.json.Decoder(Status)


def from_status(status: Status, operation: str, retry_after: float | None = None) -> KubeError:
    """The error for a Status, of a response or of a watch's ERROR event.

    `operation` names the request, as in `GET /api/v1/pods`.
    """
    kind = _BY_STATUS.get(status.code, KubeError)
    if kind is Conflict and status.reason == "AlreadyExists":
        kind = AlreadyExists
    if status.reason == "Expired":
        kind = Gone
    if retry_after is None and status.details is not None:
        retry_after = status.details.retry_after_seconds
    message = f"{operation}: {status.message or status.reason or 'no reason given'} ({status.code})"
    return kind(message, code=status.code, reason=status.reason, retry_after=retry_after)


def from_body(code: int, body: bytes, operation: str, retry_after: str = "") -> KubeError:
    """The error for a response with an error status, its body and its Retry-After header."""
    try:
        status = _decoder.decode(body)
    except JSON_FAULTS:
        # A proxy, or a path no handler owns: text that may hold anything, so only its beginning is shown.
        status = Status(message=body[:200].decode("utf-8", "replace").strip())
    status.code = code
    return from_status(status, operation, float(retry_after) if retry_after.isdecimal() else None)
