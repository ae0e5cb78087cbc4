"""Query parameters of the reading routes."""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.datastructures import QueryParams

from kubernaut.datastorage import parameters
from kubernaut.datastorage.event_pages import Filters, PageRequest
from kubernaut.ops.http.problems import RequestRejected
from support.ledger_events import NOW


def test_nothing_given_asks_for_the_newest_fifty():
    assert parameters.query(QueryParams(), NOW) == (Filters(), PageRequest(limit=50, offset=0))


def test_names_of_december_2025_are_understood_and_canonical_ones_win():
    given = {"service": "gateway", "outcome": "failure", "event_outcome": "success", "severity": ""}

    assert parameters.query(QueryParams(given), NOW)[0] == Filters(event_category="gateway", event_outcome="success")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("0.5d", NOW - timedelta(hours=12)),
        ("24h", NOW - timedelta(hours=24)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("1.5s", NOW - timedelta(seconds=1.5)),
        ("2026-11-22T20:00:00Z", datetime(2026, 11, 22, 20, tzinfo=UTC)),
        ("2026-11-22T21:00:00.5+01:00", datetime(2026, 11, 22, 20, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-22T21:00:00 01:00", datetime(2026, 11, 22, 20, tzinfo=UTC)),
        ("2026-11-22T20:00:00", datetime(2026, 11, 22, 20, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_every_form(text: str, time: datetime):
    assert parameters.query(QueryParams({"since": text, "until": text}), NOW)[0] == Filters(since=time, until=time)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"since": "soon"}, "since"),
        ({"until": "-1d"}, "until"),
        ({"since": "1h", "until": "2h"}, "until"),
        ({"since": "999999999999d"}, "since"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "10abc"}, "limit"),
        ({"limit": "\u0661"}, "limit"),
        ({"limit": "1_0"}, "limit"),
        ({"limit": " 10"}, "limit"),
        ({"limit": "+10"}, "limit"),
        ({"limit": "1" * 5000}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "1", "cursor": "x"}, "offset"),
        ({"event_outcome": "maybe"}, "event_outcome"),
        ({"event_category": "gatway"}, "event_category"),
        ({"service": "gatway"}, "event_category"),
        ({"parent_event_id": "rr-1"}, "parent_event_id"),
        ({"colour": "red"}, "colour"),
        ({"detail_value": "c"}, "detail_value"),
        ({"resource_type": "Pod"}, "resource_type"),
        ({"actor_type": "user"}, "actor_type"),
        ({"detail_key": "a"}, "detail_key"),
        ({"detail_key": "a.b", "detail_value": "c"}, "detail_key"),
        ({"correlation_id": "x" * 256}, "correlation_id"),
        ({"namespace": "a\0"}, "namespace"),
    ],
)
def test_bad_parameter_is_named(given: dict[str, str], name: str):
    with pytest.raises(RequestRejected) as caught:
        parameters.query(QueryParams(given), NOW)

    assert list(caught.value.field_errors) == [name]


def test_repeated_parameter_is_refused():
    with pytest.raises(RequestRejected, match="severity: is given more than once"):
        parameters.query(QueryParams("severity=high&severity=low"), NOW)


def test_misspelt_parameter_is_refused_with_the_allowed_ones():
    with pytest.raises(RequestRejected) as caught:
        parameters.query(QueryParams("namspace=shop"), NOW)

    assert {"namespace", "resource_namespace", "cursor"} <= set(str(caught.value).partition("allowed: ")[2].split(", "))


@pytest.mark.parametrize(("given", "name"), [("order=time", "order"), ("after=-1", "after"), ("limt=3", "limt")])
def test_bad_parameter_of_a_timeline_is_named(given: str, name: str):
    with pytest.raises(RequestRejected) as caught:
        parameters.timeline(QueryParams(given))

    assert list(caught.value.field_errors) == [name]
