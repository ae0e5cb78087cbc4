"""Which signals the on-call page shows, in which order, and with which words."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.remediation import Deduplication, RemediationRequest, RemediationSpec, RemediationStatus
from kubernaut.api.signals import (
    BusinessClassification,
    KubernetesContext,
    PriorityAssignment,
    SignalProcessing,
    SignalStatus,
)
from kubernaut.api.vocabulary import Label, Priority
from kubernaut.oncall import board as boards
from kubernaut.oncall.board import Filters, InvalidFilter, OpenSignal, board, is_open, parse_filters
from support.signals import EARLY, a_signal

NOW = EARLY + timedelta(hours=5)
EVERY = Filters()
URL = "http://127.0.0.1:8080"


def an_open(
    priority: str = "P1", *, team: str = "", unit: str = "", age: int = 0, count: int = 0, **more
) -> OpenSignal:
    """A signal `age` seconds older than NOW; without a priority when that is empty."""
    status = SignalStatus(
        kubernetes_context=KubernetesContext(custom_labels={"team": [team]} if team else {}),
        business_classification=BusinessClassification(business_unit=unit) if unit else None,
        priority_assignment=PriorityAssignment(
            priority=Priority(priority), source="rego-policy", assigned_at=EARLY, policy_name="production-critical"
        )
        if priority
        else None,
    )
    signal = a_signal(status=status, **more)
    metadata = msgspec.structs.replace(signal.metadata, creation_timestamp=NOW - timedelta(seconds=age))
    request = None
    if count:
        counted = RemediationStatus(deduplication=Deduplication(occurrence_count=count, overflow=count > 100))
        request = RemediationRequest(spec=RemediationSpec(signal_name="A"), status=counted)
    return OpenSignal(signal=msgspec.structs.replace(signal, metadata=metadata), request=request)


def shown(signals: list[OpenSignal], filters: Filters = EVERY) -> list[tuple[str, list[str]]]:
    groups = board(signals, filters, NOW, URL).groups
    return [(group.priority, [row.alert for row in group.rows]) for group in groups]


def test_undecided_comes_first_then_the_priorities_and_in_each_the_oldest():
    signals = [
        an_open("P3", name="low", age=900),
        an_open("P0", name="young", age=1),
        an_open("P0", name="old", age=100),
        an_open("", name="undecided"),
        an_open("P1", name="middle", age=50),
    ]

    expected = [("none", ["undecided"]), ("P0", ["old", "young"]), ("P1", ["middle"]), ("P3", ["low"])]
    assert shown(signals) == expected
    assert shown([*reversed(signals)]) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"a", "b", "c", "d"}),
        ("priority=P0", {"a"}),
        ("priority=p0,P1", {"a", "b"}),
        ("priority=P0&priority=none", {"a", "d"}),
        ("team=shop", {"a", "b"}),
        ("team=shop&team=search", {"a", "b", "c"}),
        ("team=retail", {"d"}),
        ("team=Shop", set()),
        ("namespace=web", {"c"}),
        ("namespace=kubernaut-system", {"a", "b", "c", "d"}),
        ("priority=P1&team=shop&namespace=shop", {"b"}),
        ("priority=&team=&namespace=", {"a", "b", "c", "d"}),
    ],
)
def test_filters_choose(query, expected):
    signals = [
        an_open("P0", name="a", team="shop"),
        an_open("P1", name="b", team="shop", unit="retail"),
        an_open("P2", name="c", team="search", at="web"),
        an_open("", name="d", unit="retail"),
    ]
    pairs = [tuple(part.split("=")) for part in query.split("&") if part]

    found = board(signals, parse_filters(pairs), NOW, URL)

    assert {row.alert for group in found.groups for row in group.rows} == expected
    assert (found.matching, found.open) == (len(expected), 4)
    assert found.teams == ["retail", "search", "shop"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([("priority", "P9")], "'P9' is no priority; there are P0, P1, P2, P3, none."),
        ([("severity", "critical")], "There is no filter 'severity'"),
        ([("namespace", "a"), ("namespace", "b")], "Name one namespace"),
    ],
)
def test_filter_that_can_match_nothing_is_refused(query, said):
    with pytest.raises(InvalidFilter, match=said):
        parse_filters(query)


def test_row_has_what_is_known_and_nothing_else():
    known = an_open("P0", team="shop", age=7200, count=7, name="Api & more", parent="rr-1 2")
    bare = an_open("", severity="page")

    (group,) = board([known], EVERY, NOW, URL).groups
    row = group.rows[0]
    assert (row.age, row.occurrences, row.team) == ("2h", "7", "shop")
    assert (row.namespace, row.target) == ("shop", "Pod/api-7d-x")
    assert row.why == "rule production-critical"
    assert row.timeline_url == f"{URL}/ui/timeline?correlation_id=rr-1+2"
    row = board([bare], EVERY, NOW, URL).groups[0].rows[0]
    assert (row.occurrences, row.team, row.environment, row.severity) == ("", "", "", "")
    assert row.why == "not decided yet (new)"


def test_count_that_is_a_minimum_says_so():
    assert board([an_open(count=101)], EVERY, NOW, URL).groups[0].rows[0].occurrences == "101+"


def test_more_than_fit_are_counted(monkeypatch):
    monkeypatch.setattr(boards, "MAX_ROWS", 3)
    signals = [an_open("P0", age=n) for n in range(2)] + [an_open("P1", age=n) for n in range(4)]

    found = board(signals, EVERY, NOW, URL)

    assert (found.shown, found.matching, [(len(group.rows), group.total) for group in found.groups]) == (
        3,
        6,
        [(2, 2), (1, 4)],
    )


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [({}, True), ({Label.RESOLVED_AT: "2026-01-02T03:05:00Z"}, False), ({Label.RESOLVED_AT: "soon"}, True)],
)
def test_signal_is_open_until_its_request_is_resolved(annotations, expected):
    request = RemediationRequest(spec=RemediationSpec(signal_name="A"), metadata=ObjectMeta(annotations=annotations))

    assert is_open(a_signal(), request) is expected
    assert is_open(a_signal(), None)


def test_signal_that_is_being_deleted_is_not_open():
    signal: SignalProcessing = a_signal()
    metadata = msgspec.structs.replace(signal.metadata, deletion_timestamp=datetime.now(UTC))

    assert not is_open(msgspec.structs.replace(signal, metadata=metadata), None)
