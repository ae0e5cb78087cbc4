"""Query parameters of the reading routes.

A name or a value that can match nothing is refused with what is allowed: an empty page would look like an answer.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from starlette.datastructures import QueryParams

from kubernaut.api.events import TimelineOrder
from kubernaut.api.problems import Slug
from kubernaut.api.vocabulary import EventCategory, EventOutcome
from kubernaut.datastorage.event_pages import Filters, PageRequest
from kubernaut.datastorage.reader import TimelineRequest
from kubernaut.ops.http.problems import RequestRejected

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000

ALIASES = {"service": "event_category", "outcome": "event_outcome", "resource_namespace": "namespace"}
"""Parameter names of December 2025."""

_MAX_LENGTHS = {
    "correlation_id": 255,
    "event_type": 100,
    "event_category": 50,
    "event_outcome": 20,
    "severity": 20,
    "resource_type": 100,
    "resource_id": 255,
    "actor_type": 50,
    "actor_id": 255,
    "namespace": 253,
    "detail_key": 255,
    "detail_value": 1024,
}
_PAIRS = (
    ("resource_type", "resource_id"),
    ("actor_type", "actor_id"),
    ("detail_key", "detail_value"),
    ("detail_value", "detail_key"),
)
_CLOSED: dict[str, Collection[str]] = {"event_outcome": list(EventOutcome), "event_category": list(EventCategory)}
QUERY_NAMES = (*Filters.__dataclass_fields__, *PageRequest.__dataclass_fields__)
TIMELINE_NAMES = tuple(TimelineRequest.__dataclass_fields__)
_DETAIL_KEY = re.compile(r"[A-Za-z0-9_]+")
_DIGITS = re.compile(r"[0-9]{1,19}")
_DAYS = re.compile(r"(\d+(?:\.\d+)?)d")
_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_IN_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def single(given: QueryParams, names: Collection[str], aliases: Mapping[str, str] | None = None) -> dict[str, str]:
    """The parameters by their canonical names, without empty ones. Raises RequestRejected for any other."""
    aliases = aliases or {}
    pairs = given.multi_items()
    for name, count in Counter(name for name, _ in pairs).items():
        if aliases.get(name, name) not in names:
            raise _invalid(name[:100], f"is no parameter; allowed: {', '.join([*names, *aliases])}")
        if count > 1:
            raise _invalid(name, "is given more than once")
    values = {aliases[name]: value for name, value in pairs if name in aliases}
    values |= {name: value for name, value in pairs if name not in aliases}
    return {name: value for name, value in values.items() if value}


def query(given: QueryParams, now: datetime) -> tuple[Filters, PageRequest]:
    """The filters and the page that the parameters ask for. Raises RequestRejected."""
    values = single(given, QUERY_NAMES, ALIASES)
    texts = {name: _text(name, values[name], max_length) for name, max_length in _MAX_LENGTHS.items() if name in values}
    for lone, partner in _PAIRS:
        if lone in texts and partner not in texts:
            raise _invalid(lone, f"requires {partner}")
    for name, allowed in _CLOSED.items():
        if name in texts and texts[name] not in allowed:
            raise _invalid(name, f"must be one of {', '.join(allowed)}, not {texts[name]!r}")
    if not _DETAIL_KEY.fullmatch(texts.get("detail_key", "_")):
        raise _invalid("detail_key", "must consist of letters, digits and underscores")
    filters = Filters(
        **texts,
        parent_event_id=_uuid("parent_event_id", values["parent_event_id"]) if "parent_event_id" in values else None,
        since=point_in_time(values["since"], now, "since") if "since" in values else None,
        until=point_in_time(values["until"], now, "until") if "until" in values else None,
    )
    if filters.since and filters.until and filters.since > filters.until:
        raise _invalid("until", "must not be before since")
    offset = integer("offset", values.get("offset", ""), default=0, low=0, high=2**31)
    cursor = values.get("cursor")
    if cursor and offset:
        raise _invalid("offset", "cursor and offset are mutually exclusive")
    limit = integer("limit", values.get("limit", ""), default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    return filters, PageRequest(limit=limit, offset=offset, cursor=cursor)


def timeline(given: QueryParams) -> TimelineRequest:
    """Which piece of a timeline the parameters ask for. Raises RequestRejected."""
    values = single(given, TIMELINE_NAMES)
    order = values.get("order", TimelineOrder.CAUSAL)
    if order not in list(TimelineOrder):
        raise _invalid("order", f"must be one of {', '.join(TimelineOrder)}, not {order[:40]!r}")
    return TimelineRequest(
        order=TimelineOrder(order),
        after=integer("after", values.get("after", ""), default=0, low=0, high=2**63 - 1),
        limit=integer("limit", values.get("limit", ""), default=MAX_LIMIT, low=1, high=MAX_LIMIT),
    )


def correlation(text: str) -> str:
    """A correlation id as a path or a body has it. Raises RequestRejected."""
    return _text("correlation_id", text, 255)


def integer(name: str, text: str, *, default: int, low: int, high: int) -> int:
    """A whole number between `low` and `high`. Raises RequestRejected."""
    if not text:
        return default
    # Not all that `int` takes: `1_0` is 10 for Python alone.
    if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
        raise _invalid(name, f"must be a whole number between {low} and {high}, not {text[:40]!r}")
    return int(text)


def point_in_time(text: str, now: datetime, name: str) -> datetime:
    """A point in time: `7d`, `1h30m` before now, RFC 3339, or date with or without time of day in UTC.

    Raises RequestRejected.
    """
    try:
        if days := _DAYS.fullmatch(text):
            return now - timedelta(days=float(days[1]))
        if _GO_DURATION.match(text) and not _GO_DURATION.sub("", text):
            seconds = sum(float(number) * _IN_SECONDS[unit] for number, unit in _GO_DURATION.findall(text))
            return now - timedelta(seconds=seconds)
        # A plus sign that nobody escaped arrives as a blank.
        parsed = datetime.fromisoformat(text.replace(" ", "+") if text.count(":") > 2 else text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _invalid(
            name, f"must be a time such as 2026-01-31T12:00:00Z, 2026-01-31, 24h or 7d, not {text[:40]!r}"
        ) from None


def _uuid(name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _invalid(name, f"must be a UUID, not {text[:40]!r}") from None


def _text(name: str, text: str, max_length: int) -> str:
    if len(text) > max_length or "\0" in text:
        raise _invalid(name, f"must have at most {max_length} characters and no NUL")
    return text


def _invalid(name: str, reason: str) -> RequestRejected:
    return RequestRejected(Slug.VALIDATION, f"invalid query parameters: {name}: {reason}", {name: reason})
