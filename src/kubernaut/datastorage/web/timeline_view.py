"""What the page of one correlation shows: a picture, and the same as a table; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
from starlette.datastructures import QueryParams

from kubernaut.api.events import LedgerFinding, Pagination, StoredEvent, Timeline, TimelineOrder, Verification
from kubernaut.api.vocabulary import EventOutcome, EventType, Phase
from kubernaut.datastorage import parameters
from kubernaut.datastorage.reader import TimelineRequest
from kubernaut.datastorage.web.decision_view import DecisionView, decision_view
from kubernaut.datastorage.web.holds_view import holds_url
from kubernaut.datastorage.web.search_view import EventLine, event_line, timeline_url
from kubernaut.datastorage.web.time_scale import CutGap, TimeScale, duration_text
from kubernaut.ops.json_faults import JSON_FAULTS

PAGE_EVENTS = 100
"""Events of one picture."""

NAME_WIDTH = 11.0
"""Percent that a phase must take for its name to stand in it."""

DURATION_WIDTH = 20.0
"""Percent that it must take for its duration to stand there too."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One event in the picture and in the table."""

    line: EventLine
    label: str
    phase: str
    offset: str
    """Time since the first event."""

    duration: str
    outcome: str
    """A word that the style sheet knows."""

    start: float
    width: float
    """Percent; 0 for a moment."""


@dataclass(frozen=True, kw_only=True)
class PhaseSpan:
    """How long the signal was in a phase."""

    name: str
    duration: str
    start: float
    width: float
    label: str
    """What fits into it."""

    state: str
    """`over`, `current`, `completed` or `failed`."""


@dataclass(frozen=True, kw_only=True)
class TimelineView:
    """The whole page."""

    correlation_id: str
    summary: str
    rows: tuple[Row, ...]
    phases: tuple[PhaseSpan, ...]
    gaps: tuple[CutGap, ...]
    span: str
    """Time from the first to the last event."""

    is_causal: bool
    next_url: str
    first_url: str
    verify_url: str
    hold_url: str
    search_url: str
    verification: "VerificationView | None" = None
    decision: DecisionView | None = None


@dataclass(frozen=True, kw_only=True)
class VerificationView:
    """What a verification of the correlation found."""

    is_valid: bool
    message: str
    findings: tuple[LedgerFinding, ...]
    removed: str


class _Phases(msgspec.Struct):
    to_phase: str = ""
    phase: str = ""


_decode_phases = msgspec.json.Decoder(_Phases).decode


def timeline_request(values: Mapping[str, str]) -> TimelineRequest:
    """The piece that the parameters of the page ask for. Raises RequestRejected."""
    given = {name: value for name, value in values.items() if name in ("order", "after")}
    return replace(parameters.timeline(QueryParams(given)), limit=PAGE_EVENTS)


def timeline_view(
    timeline: Timeline, asked: TimelineRequest, counted: Pagination, verification: Verification | None = None
) -> TimelineView:
    """The page of one piece of a timeline; `counted` says how many events the correlation has."""
    order, after = asked.order, asked.after
    total = f"{counted.total:,}" if counted.total_is_exact else f"more than {counted.total:,}"
    events = timeline.events
    durations = [timedelta(milliseconds=event.duration_ms or 0) for event in events]
    starts = [_earlier(event.event_timestamp, length) for event, length in zip(events, durations, strict=True)]
    scale = TimeScale([*starts, *(event.event_timestamp for event in events)])
    phases = phase_spans(events, scale)
    first = min((event.event_timestamp for event in events), default=None)
    rows = tuple(_row(event, start, scale, first=first or start) for event, start in zip(events, starts, strict=True))
    paging = {"order": order.value} if order is TimelineOrder.LEDGER else {}
    last = events[-1].sequence if events else 0
    shown = f"{len(events):,} of {total} events" if after or timeline.has_more else f"{total} events, all shown"
    return TimelineView(
        correlation_id=timeline.correlation_id,
        summary=f"{shown}, in {'causal order' if order is TimelineOrder.CAUSAL else 'the order of the ledger'}",
        rows=rows,
        phases=phases,
        gaps=tuple(scale.cut_gaps),
        span=duration_text(max(event.event_timestamp for event in events) - first) if first else "",
        is_causal=order is TimelineOrder.CAUSAL,
        next_url=timeline_url(timeline.correlation_id, after=str(last), **paging) if timeline.has_more else "",
        first_url=timeline_url(timeline.correlation_id, **paging) if after else "",
        verify_url=timeline_url(timeline.correlation_id, verify="1"),
        hold_url=holds_url(correlation_id=timeline.correlation_id),
        search_url=f"/ui/?{_search(timeline.correlation_id)}",
        verification=verification_view(verification) if verification else None,
        decision=decision_view(events),
    )


def verification_view(found: Verification) -> VerificationView:
    """The result of a verification in words."""
    counts = f"{found.verified_events:,} of {found.total_events:,} events verified in the ledger"
    removed = sum(each.count for each in found.removed)
    return VerificationView(
        is_valid=found.is_valid,
        message=f"{counts}. {found.message}.",
        findings=tuple(found.findings),
        removed=f"The content of {removed:,} of them was removed, as the ledger says." if removed else "",
    )


def phase_spans(events: Sequence[StoredEvent], scale: TimeScale) -> tuple[PhaseSpan, ...]:
    """The phases that the events say the signal entered, each until the next one."""
    entered = [
        (phase, event.event_timestamp)
        for event in events
        if event.event_type == EventType.PHASE_TRANSITION and (phase := _phases_of(event).to_phase) in list(Phase)
    ]
    if not entered:
        return ()
    end = max(event.event_timestamp for event in events)
    spans = []
    for index, (name, time) in enumerate(entered):
        is_last = index + 1 == len(entered)
        until = max(time, entered[index + 1][1] if not is_last else end)
        phase = Phase(name)
        start, width = scale.at(time), 0.0 if phase.is_final else scale.at(until) - scale.at(time)
        duration = "" if phase.is_final else duration_text(until - time)
        spans.append(
            PhaseSpan(
                name=name,
                duration=duration,
                start=start,
                width=width,
                label=f"{name} {duration}" if width >= DURATION_WIDTH else name if width >= NAME_WIDTH else "",
                state=name.lower() if phase.is_final else "current" if is_last else "over",
            )
        )
    return tuple(spans)


def _row(event: StoredEvent, start: datetime, scale: TimeScale, *, first: datetime) -> Row:
    phases = _phases_of(event)
    is_transition = event.event_type == EventType.PHASE_TRANSITION and bool(phases.to_phase)
    _, _, name = event.event_type.partition(".")
    label = f"{name or event.event_type} → {phases.to_phase}" if is_transition else name or event.event_type
    place = scale.at(start)
    return Row(
        line=event_line(event),
        label=label,
        phase=phases.to_phase if is_transition else phases.phase,
        offset=f"+{duration_text(event.event_timestamp - first)}" if event.event_timestamp != first else "0",
        duration="" if event.duration_ms is None else duration_text(timedelta(milliseconds=event.duration_ms)),
        outcome=event.event_outcome if event.event_outcome in list(EventOutcome) else "other",
        start=place,
        width=scale.at(event.event_timestamp) - place,
    )


def _phases_of(event: StoredEvent) -> _Phases:
    try:
        return _decode_phases(event.event_data)
    except JSON_FAULTS:
        return _Phases()  # the data of another service, in which these keys mean something else


def _earlier(time: datetime, length: timedelta) -> datetime:
    try:
        return time - length
    except OverflowError:
        return time


def _search(correlation_id: str) -> str:
    return timeline_url(correlation_id).partition("?")[2]
