"""What the search page shows; pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from kubernaut.api.events import EventPage, StoredEvent
from kubernaut.api.vocabulary import EventCategory, EventOutcome
from kubernaut.datastorage import parameters
from kubernaut.datastorage.web.rendering import PREFIX

LIMITS = ("25", "50", "100", "250", "1000")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One filter of the form."""

    name: str
    label: str
    value: str
    error: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    """What a closed vocabulary has; empty for free text."""


@dataclass(frozen=True, kw_only=True)
class EventLine:
    """One event in a list."""

    url: str
    timeline_url: str
    time: datetime
    event_type: str
    correlation_id: str
    target: str
    actor: str
    severity: str
    outcome: str
    is_late: bool


@dataclass(frozen=True, kw_only=True)
class SearchView:
    """The whole page."""

    fields: tuple[Field, ...]
    """Those that are always shown."""

    more_fields: tuple[Field, ...]
    is_more_open: bool
    lines: tuple[EventLine, ...] = ()
    summary: str = ""
    next_url: str = ""
    newest_url: str = ""
    """Back to the first page, where this is a later one."""

    errors: tuple[str, ...] = ()
    """What is wrong, in short where a field says more."""


_FIELDS: dict[str, tuple[str, str, Collection[str]]] = {
    "correlation_id": ("Correlation", "all events of one signal", ()),
    "namespace": ("Namespace", "of the target", ()),
    "event_type": ("Event type", "gateway.signal.received", ()),
    "since": ("Since", "24h, 7d, 2026-01-31 or a time", ()),
}
_MORE: dict[str, tuple[str, str, Collection[str]]] = {
    "until": ("Until", "1h, 2026-01-31 or a time", ()),
    "event_category": ("Category", "", tuple(EventCategory)),
    "event_outcome": ("Outcome", "", tuple(EventOutcome)),
    "severity": ("Severity", "critical, high, warning, info …", ()),
    "resource_type": ("Target kind", "together with its name", ()),
    "resource_id": ("Target name", "", ()),
    "actor_type": ("Actor type", "together with its name", ()),
    "actor_id": ("Actor", "", ()),
    "parent_event_id": ("Parent event", "its id", ()),
    "detail_key": ("Key in the data", "together with its value", ()),
    "detail_value": ("Value in the data", "", ()),
    "limit": ("Events per page", "", LIMITS),
}
_PAGING = ("cursor", "offset")


def search_view(given: QueryParams, found: EventPage) -> SearchView:
    """The page with what was found."""
    values = _values(given)
    fields, more = _form(values, {})
    pagination = found.pagination
    is_later = bool(values.get("cursor") or values.get("offset"))
    filters = {name: value for name, value in values.items() if name not in _PAGING}
    return SearchView(
        fields=fields,
        more_fields=more,
        is_more_open=any(values.get(name) for name in _MORE),
        lines=tuple(map(event_line, found.data)),
        summary=_summary(len(found.data), pagination.total, pagination.total_is_exact),
        next_url=_url(filters | {"cursor": pagination.cursor}) if pagination.cursor else "",
        newest_url=_url(filters) if is_later else "",
    )


def rejected_view(given: QueryParams, field_errors: Mapping[str, str]) -> SearchView:
    """The page with what is wrong about the filters, each where it stands."""
    values = _values(given)
    labels = {name: label for name, (label, _, _) in {**_FIELDS, **_MORE}.items()}
    # The API names a missing partner by its parameter, the form by its label.
    reasons = {
        name: f"requires “{labels[partner]}”" if (partner := reason.removeprefix("requires ")) in labels else reason
        for name, reason in field_errors.items()
    }
    fields, more = _form(values, reasons)
    return SearchView(
        fields=fields,
        more_fields=more,
        is_more_open=bool(field_errors.keys() & _MORE.keys()) or any(values.get(name) for name in _MORE),
        errors=tuple(
            f"Nothing was searched for: correct “{labels[name]}”." if name in labels else f"{name[:100]}: {reason}"
            for name, reason in reasons.items()
        ),
    )


def event_line(event: StoredEvent) -> EventLine:
    """One event in a list."""
    return EventLine(
        url=event_url(str(event.event_id)),
        timeline_url=timeline_url(event.correlation_id),
        time=event.event_timestamp,
        event_type=event.event_type,
        correlation_id=event.correlation_id,
        target=target_of(event.namespace, event.resource_type, event.resource_name or event.resource_id),
        actor=event.actor_id or "",
        severity=event.severity or "",
        outcome=event.event_outcome,
        is_late=event.late,
    )


def target_of(namespace: str | None, kind: str | None, name: str | None) -> str:
    """A target as kubectl names it, with its namespace before it."""
    resource = "/".join(part for part in (kind, name) if part)
    return f"{namespace} · {resource}" if namespace and resource else namespace or resource


def event_url(event_id: str) -> str:
    """The page of one event."""
    return f"{PREFIX}/events/{event_id}"


def timeline_url(correlation_id: str, **more: str) -> str:
    """The page of one correlation; in the query, because a browser would change a path with `..` in it."""
    return f"{PREFIX}/timeline?{urlencode({'correlation_id': correlation_id, **more})}"


def _values(given: QueryParams) -> dict[str, str]:
    """What was asked for, by canonical names, right or wrong."""
    named = {parameters.ALIASES.get(name, name): value for name, value in given.multi_items()}
    return {name: value for name, value in named.items() if value}


def _form(values: Mapping[str, str], errors: Mapping[str, str]) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    def field(name: str, label: str, hint: str, choices: Collection[str]) -> Field:
        value = values.get(name, "")
        if name == "limit":
            value = value or str(parameters.DEFAULT_LIMIT)
        if choices and value and value not in choices:
            choices = (value, *choices)
        return Field(name=name, label=label, value=value, error=errors.get(name, ""), hint=hint, choices=tuple(choices))

    always = tuple(field(name, *described) for name, described in _FIELDS.items())
    return always, tuple(field(name, *described) for name, described in _MORE.items())


def _summary(shown: int, total: int, is_exact: bool) -> str:
    if not total and not shown:
        return "No event matches."
    count = f"{total:,}" if is_exact else f"more than {total:,}"
    noun = "event" if is_exact and total == 1 else "events"
    return f"{count} {noun}, newest first; {shown:,} shown"


def _url(values: Mapping[str, str]) -> str:
    return f"{PREFIX}/?{urlencode(values)}"
