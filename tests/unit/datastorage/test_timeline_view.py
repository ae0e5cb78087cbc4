"""What the page of one correlation shows."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import msgspec
import pytest

from kubernaut.api.events import (
    LedgerFinding,
    Pagination,
    SignalPayload,
    StoredEvent,
    Timeline,
    TimelineOrder,
    Verification,
)
from kubernaut.api.vocabulary import EventType, Phase
from kubernaut.datastorage.reader import TimelineRequest
from kubernaut.datastorage.web.timeline_view import timeline_view
from support.stored_events import TIME, a_stored_event

TRANSITION = "signalprocessing.phase.transition"


def at(milliseconds: float, **fields: object) -> StoredEvent:
    return a_stored_event(event_timestamp=TIME + timedelta(milliseconds=milliseconds), **fields)


def entering(phase: object, milliseconds: float) -> StoredEvent:
    data = msgspec.Raw(msgspec.json.encode({"to_phase": phase, "phase": phase}))
    return at(milliseconds, event_type=TRANSITION, event_data=data)


def view_of(*events: StoredEvent, after: int = 0, has_more: bool = False, **more: object):
    timeline = Timeline(correlation_id="rr/1", events=list(events), has_more=has_more)
    asked = TimelineRequest(order=more.pop("order", TimelineOrder.CAUSAL), after=after)
    counted = Pagination(limit=1, offset=0, total=len(events), has_more=False, total_is_exact=True)
    return timeline_view(timeline, asked, counted, **more)


def test_every_event_has_a_row_in_the_order_given():
    view = view_of(at(5), at(0), at(9))

    assert [row.offset for row in view.rows] == ["+5 ms", "0", "+9 ms"]


def test_phases_last_from_one_transition_to_the_next():
    phases = [("Pending", 0), ("Enriching", 10), ("Classifying", 350), ("Completed", 400)]

    view = view_of(*(entering(*each) for each in phases))

    assert [(span.name, span.duration, span.state) for span in view.phases] == [
        ("Pending", "10 ms", "over"),
        ("Enriching", "340 ms", "over"),
        ("Classifying", "50 ms", "over"),
        ("Completed", "", "completed"),
    ]
    assert [span.label for span in view.phases] == ["", "Enriching 340 ms", "Classifying", ""]
    assert view.phases[0].start + view.phases[0].width == pytest.approx(view.phases[1].start)


def test_a_phase_that_goes_on_lasts_to_the_last_event():
    view = view_of(entering("Enriching", 0), at(100))

    assert [(span.duration, span.state) for span in view.phases] == [("100 ms", "current")]


@pytest.mark.parametrize("phase", [None, 3, "", "Boring", ["Pending"], "pending"])
def test_what_is_no_phase_of_ours_is_not_drawn(phase):
    assert view_of(entering(phase, 0), at(1)).phases == ()


def test_bar_ends_at_the_event_and_is_as_long_as_it_took():
    view = view_of(at(0), at(100, duration_ms=60))

    row = view.rows[1]
    assert (row.duration, round(row.start, 1), round(row.width, 1)) == ("60 ms", 40.3, 58.2)


def test_duration_that_goes_back_before_all_time_is_drawn_as_a_moment():
    first = a_stored_event(event_timestamp=datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC), duration_ms=2**31 - 1)

    assert view_of(first).rows[0].width == 0


def test_what_follows_is_asked_for_behind_the_last_event():
    view = view_of(at(0, sequence=7), after=3, has_more=True, order=TimelineOrder.LEDGER)

    assert parse_qs(urlsplit(view.next_url).query) == {"correlation_id": ["rr/1"], "after": ["7"], "order": ["ledger"]}
    assert "after" not in view.first_url
    assert view.summary == "1 of 1 events, in the order of the ledger"
    assert not view.is_causal


def test_whole_timeline_says_so():
    view = view_of(at(0), at(1))

    assert view.summary == "2 events, all shown, in causal order"
    assert (view.next_url, view.first_url) == ("", "")


def test_events_of_one_moment_are_drawn_too():
    assert [row.start for row in view_of(at(0), at(0)).rows] == [1.5, 1.5]


def test_verification_shows_each_finding():
    finding = LedgerFinding(sequence=3, message="the event was changed after it was stored", event_id=UUID(int=1))
    verification = Verification(
        is_valid=False,
        total_events=4,
        verified_events=3,
        verification_time=TIME,
        message="FAILED",
        head_sequence=4,
        head_hash="",
        heads=[],
        findings=[finding],
    )

    shown = view_of(at(0), verification=verification).verification

    assert (shown.is_valid, shown.findings) == (False, (finding,))
    assert shown.message == "3 of 4 events verified in the ledger. FAILED."


def decided(**fields: object) -> StoredEvent:
    payload = SignalPayload(event_type=EventType.CLASSIFICATION_DECISION, phase=Phase.CLASSIFYING, signal="x", **fields)
    data = msgspec.Raw(msgspec.json.encode(payload))
    return at(1, event_type="signalprocessing.classification.decision", event_data=data)


FACTS = msgspec.Raw(
    msgspec.json.encode(
        {
            "signal": {"name": "KubePod\u202eCrash", "severity": "Sev1", "type": "alert", "source": "prometheus"},
            "fallbackEnvironment": {"environment": "Unknown", "source": "default"},
            "kubernetesContext": {"namespace": {"name": "shop", "labels": {"team": "<b>pay"}}},
        }
    )
)


def test_decision_is_shown_with_its_rule_its_inputs_and_the_command_that_explains_it():
    fields = {
        "decided_environment": "staging",
        "decided_environment_source": "namespace-labels",
        "policy_hash": "a" * 64,
    }
    event = decided(priority="P1", policy_name="staging-critical", facts=FACTS, signalprocessing_name="rr-1", **fields)

    view = view_of(at(0), event, at(2)).decision

    assert view is not None
    assert dict(view.values) == {
        "Environment": "staging, by namespace-labels",
        "Priority": "P1, by staging-critical",
        "Policy": "a" * 12,
    }
    assert dict(view.inputs)["namespace label team"] == "<b>pay"
    assert "\u202e" not in dict(view.inputs)["alert"]
    assert view.command == "kubernaut signals explain -- rr-1"


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("x; rm -rf ~", "'x; rm -rf ~'"),
        ("$(id)", "'$(id)'"),
        ("--kubeconfig=/x", "--kubeconfig=/x"),
        ("a\x1bb", "'a\\x1bb'"),
    ],
)
def test_name_from_outside_is_one_argument_of_the_command_that_explains_it(name, argument):
    view = view_of(at(0), decided(signalprocessing_name=name)).decision

    assert view is not None
    assert view.command == f"kubernaut signals explain -- {argument}"


def test_decision_without_facts_has_no_inputs_and_one_of_another_service_is_not_shown():
    alone = view_of(decided(priority="P1")).decision
    foreign = at(0, event_type="signalprocessing.classification.decision", event_data=msgspec.Raw(b'{"phase":5}'))

    assert alone is not None
    assert alone.inputs == ()
    assert view_of(foreign).decision is None
    assert view_of(at(0)).decision is None
