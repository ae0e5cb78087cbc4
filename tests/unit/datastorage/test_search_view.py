"""What the search page shows of a query, a page of events, or a rejected filter."""

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.datastructures import QueryParams

from kubernaut.api.events import EventPage, Pagination, StoredEvent
from kubernaut.datastorage import parameters
from kubernaut.datastorage.event_pages import Filters
from kubernaut.datastorage.web.search_view import SearchView, rejected_view, search_view, target_of
from kubernaut.ops.http.problems import RequestRejected
from support.stored_events import TIME, a_stored_event


def a_page(*events: StoredEvent, **pagination: object) -> EventPage:
    given = {"limit": 50, "offset": 0, "total": len(events), "has_more": False, "total_is_exact": True, "cursor": None}
    return EventPage(data=list(events), pagination=Pagination(**{**given, **pagination}))


def query_of(url: str) -> dict[str, list[str]]:
    assert urlsplit(url).path == "/ui/"
    return parse_qs(urlsplit(url).query)


def field_of(view: SearchView, name: str):
    (found,) = (field for field in (*view.fields, *view.more_fields) if field.name == name)
    return found


def test_every_filter_of_the_api_is_in_the_form():
    view = search_view(QueryParams(), a_page())

    names = {field.name for field in (*view.fields, *view.more_fields)}
    assert names == {*Filters.__dataclass_fields__, "limit"}


def test_next_page_has_the_same_filters_and_the_cursor():
    given = QueryParams([("namespace", "a&b"), ("since", ""), ("offset", "5"), ("cursor", "old")])

    view = search_view(given, a_page(a_stored_event(), has_more=True, cursor="c="))

    assert query_of(view.next_url) == {"namespace": ["a&b"], "cursor": ["c="]}
    assert query_of(view.newest_url) == {"namespace": ["a&b"]}


def test_first_and_last_page_lead_nowhere_else():
    view = search_view(QueryParams(namespace="shop"), a_page(a_stored_event()))

    assert (view.next_url, view.newest_url, view.is_more_open) == ("", "", False)


@pytest.mark.parametrize(
    ("page", "summary"),
    [
        (a_page(), "No event matches."),
        (a_page(a_stored_event()), "1 event, newest first; 1 shown"),
        (a_page(a_stored_event(), total=1500), "1,500 events, newest first; 1 shown"),
        (
            a_page(a_stored_event(), total=10_000, total_is_exact=False),
            "more than 10,000 events, newest first; 1 shown",
        ),
    ],
)
def test_summary_says_how_many_there_are(page, summary):
    assert search_view(QueryParams(), page).summary == summary


def test_what_was_asked_for_stays_in_the_form_by_either_name():
    view = search_view(QueryParams(service="gateway", severity="high"), a_page())

    assert field_of(view, "event_category").value == "gateway"
    assert field_of(view, "severity").value == "high"
    assert view.is_more_open


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ({"event_outcome": "maybe"}, "event_outcome", "must be one of success, failure, pending, not 'maybe'"),
        ({"event_category": "none"}, "event_category", "must be one of gateway,"),
        ({"resource_type": "Pod"}, "resource_type", "requires “Target name”"),
        ({"detail_value": "x"}, "detail_value", "requires “Key in the data”"),
        ({"since": "soon"}, "since", "must be a time such as"),
        ({"parent_event_id": "x"}, "parent_event_id", "must be a UUID"),
    ],
)
def test_rejected_filter_says_so_where_it_stands(query, field, text):
    given = QueryParams(query)
    with pytest.raises(RequestRejected) as caught:
        parameters.query(given, TIME)

    view = rejected_view(given, caught.value.field_errors)

    assert text in field_of(view, field).error
    assert field_of(view, field).value == query[field]
    assert view.errors[0].startswith("Nothing was searched for")


def test_rejected_parameter_without_a_field_is_named():
    assert rejected_view(QueryParams(), {"colour": "is no parameter"}).errors == ("colour: is no parameter",)


@pytest.mark.parametrize("correlation_id", ["..", ".", "a/b?c#d", "a\nb", "é%"])
def test_link_to_a_timeline_carries_any_correlation(correlation_id):
    view = search_view(QueryParams(), a_page(a_stored_event(correlation_id=correlation_id)))

    url = urlsplit(view.lines[0].timeline_url)
    assert url.path == "/ui/timeline"
    assert parse_qs(url.query) == {"correlation_id": [correlation_id]}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("shop", "Pod", "api-1"), "shop · Pod/api-1"),
        ((None, "Node", "n1"), "Node/n1"),
        (("shop", None, None), "shop"),
        ((None, None, None), ""),
    ],
)
def test_target_is_named_as_far_as_it_is_known(parts, text):
    assert target_of(*parts) == text
