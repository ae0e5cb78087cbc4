"""Problem documents (RFC 9457): every answer of ours that is not 2xx is one."""

from enum import StrEnum

import msgspec

PREFIX = "https://kubernaut.ai/problems/"
CONTENT_TYPE = "application/problem+json"


class Slug(StrEnum):
    """The stable last part of a problem's `type`."""

    VALIDATION = "validation-error"
    INVALID_REQUEST = "invalid_request"
    INVALID_EVENT_DATA = "invalid_event_data"
    BATCH_SIZE = "batch-size-exceeded"
    TOO_LARGE = "request-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    DATABASE = "database-error"
    UNAVAILABLE = "service-unavailable"
    INTERNAL = "internal-error"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, where, and what to do."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    field_errors: dict[str, str] = {}
    retry: bool = False


def problem(slug: Slug, status: int, title: str, detail: str, **more: object) -> Problem:
    """A problem document of one of our slugs; `more` fills the optional members."""
    return msgspec.convert(
        {"type": PREFIX + slug, "title": title, "status": status, "detail": detail, **more}, type=Problem
    )
