"""What the page shows: open signals by priority, the oldest first. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.summaries import age, is_in, occurrence_count, reasons, resolved_at, team
from kubernaut.api.vocabulary import Priority

MAX_ROWS = 500
"""Signals on the page; of more than these, only the count is shown."""

UNDECIDED = "none"
"""Stands in a filter for signals without a priority."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class InvalidFilter(ValueError):
    """A filter that no signal can match."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which open signals are wanted; what is empty takes all."""

    priorities: frozenset[str] = frozenset()
    """Priorities, and UNDECIDED."""
    teams: frozenset[str] = frozenset()
    namespace: str = ""
    """Of the signal, or of what it is about."""

    @property
    def is_any(self) -> bool:
        return bool(self.priorities or self.teams or self.namespace)


@dataclass(frozen=True, kw_only=True)
class OpenSignal:
    """A signal whose alert is not resolved, and the request that its alerts are counted on, where it may be read."""

    signal: SignalProcessing
    request: RemediationRequest | None

    @property
    def priority(self) -> str:
        assigned = self.signal.status.priority_assignment
        return str(assigned.priority) if assigned else UNDECIDED


@dataclass(frozen=True, kw_only=True)
class Row:
    """One signal as the page shows it."""

    key: str
    alert: str
    target: str
    environment: str
    severity: str
    team: str
    namespace: str
    created_at: datetime | None
    age: str
    occurrences: str
    why: str
    proof_url: str
    timeline_url: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """The signals of one priority."""

    priority: str
    rows: Sequence[Row]
    total: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """All that is wanted, and what the filters could be set to."""

    groups: Sequence[Group]
    shown: int
    matching: int
    open: int
    teams: Sequence[str]
    namespaces: Sequence[str]


def parse_filters(values: Iterable[tuple[str, str]]) -> Filters:
    """The filters of a query such as `priority=P0,P1&team=shop`. Raises InvalidFilter."""
    given: dict[str, list[str]] = {"priority": [], "team": [], "namespace": []}
    for name, value in values:
        if name not in given:
            raise InvalidFilter(f"There is no filter {name!r}; there are priority, team and namespace.")
        if value.strip():
            given[name].append(value.strip())
    known = {each.lower(): each.value for each in Priority} | {UNDECIDED: UNDECIDED}
    wanted = [part.strip() for each in given["priority"] for part in each.split(",") if part.strip()]
    unknown = [each for each in wanted if each.lower() not in known]
    if unknown:
        raise InvalidFilter(f"{unknown[0]!r} is no priority; there are {', '.join(known.values())}.")
    if len(given["namespace"]) > 1:
        raise InvalidFilter("Name one namespace, or none for all.")
    return Filters(
        priorities=frozenset(known[each.lower()] for each in wanted),
        teams=frozenset(given["team"]),
        namespace=given["namespace"][0] if given["namespace"] else "",
    )


def board(signals: Iterable[OpenSignal], filters: Filters, now: datetime, store_url: str) -> Board:
    """The open signals that the filters take: first those that nobody has decided, then P0, P1 and so on.

    Inside a priority the oldest comes first. Links lead to the pages of the DataStorage at `store_url`.
    """
    everything = list(signals)
    wanted = sorted((each for each in everything if _is_wanted(each, filters)), key=_order)
    shown = wanted[:MAX_ROWS]
    priorities = sorted({each.priority for each in shown}, key=_rank)
    groups = [
        Group(
            priority=priority,
            rows=[_row(each, now, store_url) for each in shown if each.priority == priority],
            total=sum(each.priority == priority for each in wanted),
        )
        for priority in priorities
    ]
    return Board(
        groups=groups,
        shown=len(shown),
        matching=len(wanted),
        open=len(everything),
        teams=sorted({team(each.signal) for each in everything} - {""}),
        namespaces=sorted({each.signal.spec.signal.target_resource.namespace for each in everything} - {""}),
    )


def is_open(signal: SignalProcessing, request: RemediationRequest | None) -> bool:
    """Whether nobody has said that the alert is over, and the signal is not being deleted."""
    return signal.metadata.deletion_timestamp is None and resolved_at(signal, request) is None


def _is_wanted(each: OpenSignal, filters: Filters) -> bool:
    return (
        (not filters.priorities or each.priority in filters.priorities)
        and (not filters.teams or team(each.signal) in filters.teams)
        and is_in(each.signal, filters.namespace or None)
    )


def _rank(priority: str) -> str:
    return "" if priority == UNDECIDED else priority


def _order(each: OpenSignal) -> tuple[str, datetime, str]:
    metadata = each.signal.metadata
    return _rank(each.priority), metadata.creation_timestamp or _EARLIEST, metadata.name


def _row(each: OpenSignal, now: datetime, store_url: str) -> Row:
    signal, resource = each.signal, each.signal.spec.signal.target_resource
    status, created_at = signal.status, signal.metadata.creation_timestamp
    counted = each.request.status.deduplication if each.request else None
    correlation = urlencode({"correlation_id": signal.spec.remediation_request_ref.name})
    return Row(
        key=f"{signal.metadata.namespace}/{signal.metadata.name}",
        alert=signal.spec.signal.name,
        target=f"{resource.kind}/{resource.name}",
        environment=str(status.environment_classification.environment if status.environment_classification else ""),
        severity=str((status.signal_classification and status.signal_classification.severity) or ""),
        team=team(signal),
        namespace=resource.namespace,
        created_at=created_at,
        age=age(created_at, now) if created_at else "",
        occurrences=occurrence_count(counted) if counted else "",
        why=" · ".join(reasons(signal)) or f"not decided yet ({status.phase or 'new'})",
        proof_url=f"proof?{correlation}",
        timeline_url=f"{store_url}/ui/timeline?{correlation}",
    )
