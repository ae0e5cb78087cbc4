"""Problem documents (RFC 9457): every answer of ours that is not 2xx is one."""

from enum import StrEnum
from typing import Self

import msgspec

PREFIX = "https://kubernaut.ai/problems/"
CONTENT_TYPE = "application/problem+json"


class Slug(StrEnum):
    """The stable last part of a problem's `type`, with the status and the usual title of its problems."""

    status: int
    default_title: str

    def __new__(cls, value: str, status: int, title: str) -> Self:
        self = str.__new__(cls, value)
        self._value_ = value
        self.status, self.default_title = status, title
        return self

    VALIDATION = "validation-error", 400, "Validation Error"
    INVALID_REQUEST = "invalid_request", 400, "Invalid Request"
    INVALID_EVENT_DATA = "invalid_event_data", 400, "Invalid Event Data"
    BATCH_SIZE = "batch-size-exceeded", 400, "Batch Size Exceeded"
    UNAUTHORIZED = "unauthorized", 401, "Unauthorized"
    FORBIDDEN = "forbidden", 403, "Forbidden"
    NOT_FOUND = "not-found", 404, "Not Found"
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "Method Not Allowed"
    REQUEST_TIMEOUT = "request-timeout", 408, "Request Timeout"
    CONFLICT = "conflict", 409, "Conflict"
    TOO_LARGE = "request-too-large", 413, "Request Too Large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "Unsupported Media Type"
    RATE_LIMIT = "rate-limit-exceeded", 429, "Rate Limit Exceeded"
    HEADERS_TOO_LARGE = "request-header-fields-too-large", 431, "Request Header Fields Too Large"
    LEDGER_INCONSISTENT = "ledger-inconsistent", 500, "Ledger Inconsistent"
    INTERNAL = "internal-error", 500, "Internal Server Error"
    DATABASE = "database-error", 500, "Database Error"
    UNAVAILABLE = "service-unavailable", 503, "Service Unavailable"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, where, and what to do."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    field_errors: dict[str, str] = {}
    retry: bool = False
    reason: str = ""
    """One word that programs may act on, such as `database_read_only`; readiness uses the same words."""

    server_time: str = ""
    """Where the sender's clock is ahead: what the server's clock shows."""

    index: int | None = None
    """Of a batch: position of the first event that was rejected, from 0."""


def problem(slug: Slug, detail: str, **members: object) -> Problem:
    """A problem document of one of our slugs; `members` fills the optional ones, or replaces status and title."""
    document = {"type": PREFIX + slug, "title": slug.default_title, "status": slug.status, "detail": detail, **members}
    return msgspec.convert(document, type=Problem)
