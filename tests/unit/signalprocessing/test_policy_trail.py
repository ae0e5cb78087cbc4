"""What is told of each version of the policy."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.policies import MAX_DIFF_CHARS, PolicyPayload
from kubernaut.datastorage.canonical import MAX_BYTES, admitted
from kubernaut.signalprocessing.explanation.record import policy_of
from kubernaut.signalprocessing.policy import sources
from kubernaut.signalprocessing.policy.changes import ChangeReason, PolicyChange, difference
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy_trail import events_of, kubernetes_event

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def told(change):
    return events_of(change, difference(change.before, change.sources), NOW, replica="pod-1", name="policies")


def payloads(events):
    return [msgspec.json.decode(event.event_data, type=PolicyPayload) for event in events]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
long_texts = st.builds(lambda text, count: text * count, texts, st.sampled_from([0, 1, 400, 3000]))
policies = st.builds(sources.from_text, long_texts) | st.dictionaries(
    st.sampled_from(sources.PER_DIMENSION_FILES), long_texts, min_size=1
).map(sources.from_files)


@settings(max_examples=40, deadline=None)
@given(policies)
def test_text_comes_back_from_its_events_in_any_order(version):
    events = told(PolicyChange(reason=ChangeReason.START, sources=version, before=None))

    assert policy_of(reversed(payloads(events)), version.hash) == version
    assert policy_of(payloads(events)[1:], version.hash) is None
    for event in events:
        assert len(admitted(bytes(event.event_data))) <= MAX_BYTES
        assert event.correlation_id == f"policy-{version.hash}"


def test_change_says_how_many_lines_differ_and_which():
    before, after = sources.from_text("a\nb\nc"), sources.from_text("a\nB\nc\nd")
    events = told(PolicyChange(reason=ChangeReason.CHANGED, sources=after, before=before))

    (payload,) = payloads(events)
    assert (payload.change, payload.previous_policy_hash) == ("policy.rego +2 -1", before.hash)
    assert "-b\n+B" in payload.diff
    assert (events[0].event_outcome, payload.replica) == ("success", "pod-1")
    assert b'"changed_by":"unknown"' in bytes(events[0].event_data)


def test_large_difference_stays_within_its_limit():
    before = sources.from_text("x\n" * 2500)
    after = sources.from_text("".join(f"{number} {'y' * 99}\n" for number in range(2500)))

    assert len(difference(before, after).diff) == MAX_DIFF_CHARS
    assert difference(before, sources.from_text("x\n" * 9000)).summary == "policy.rego 2500 -> 9000 lines"


def test_rejection_has_text_reason_and_what_stays_in_force():
    before, after = sources.from_text("good"), sources.from_text("bad")
    error = PolicyError("unexpected token", file="policy.rego", line=3, column=7)
    change = PolicyChange(reason=ChangeReason.CHANGED, sources=after, before=before, error=error)

    (event,) = told(change)
    assert (event.event_type, event.event_outcome) == ("signalprocessing.policy.rejected", "failure")
    assert policy_of(payloads([event]), after.hash) == after
    message = kubernetes_event(change, difference(before, after))
    assert message.is_warning
    assert message.message == (
        f"policy {after.hash[:12]} rejected: policy.rego:3:7: unexpected token; {before.hash[:12]} stays in force"
    )


def test_files_that_cannot_be_read_are_reported_without_a_hash():
    change = PolicyChange(
        reason=ChangeReason.CHANGED, sources=None, before=sources.from_text("x"), error=PolicyError("is not UTF-8")
    )

    (event,) = told(change)
    assert (event.correlation_id, payloads([event])[0].files) == ("policy-unreadable", [])
