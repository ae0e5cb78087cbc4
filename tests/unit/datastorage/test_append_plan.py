"""What a group adds to the ledger."""

from datetime import date
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.datastorage import append_plan, canonical, chain, partitions
from kubernaut.datastorage.append_plan import AppendPlan, AppendRequest, ContentConflict
from kubernaut.datastorage.errors import EventConflict, ParentMissing, PartitionMissing
from support.ledger_events import an_entry


def test_known_event_with_the_same_content_is_stored_already():
    entry = an_entry()

    plan = append_plan.decide([AppendRequest(entries=[entry])], {entry.event.event_id: entry.content_hash})

    assert plan.new == []
    assert plan.results == [[None]]


def test_event_twice_in_one_group_is_one_row():
    entry = an_entry()

    plan = append_plan.decide([AppendRequest(entries=[entry, entry]), AppendRequest(entries=[entry])], {})

    assert plan.new == [entry]
    assert plan.results == [[None, None], [None]]


def test_conflict_refuses_the_whole_strict_request_and_no_other():
    stored, other = an_entry(), an_entry()
    edited = an_entry(event_id=str(stored.event.event_id), event_action="edited")
    known = {stored.event.event_id: stored.content_hash}

    plan = append_plan.decide([AppendRequest(entries=[an_entry(), edited]), AppendRequest(entries=[other])], known)

    assert plan.new == [other]
    assert [item.entry for item in plan.conflicts] == [edited]
    assert isinstance(plan.results[0][1], EventConflict)
    assert plan.results[1] == [None]


def test_event_that_only_has_to_be_there_is_no_conflict_and_is_stored_where_it_is_missing():
    stored, missing = an_entry(), an_entry(if_absent=True)
    rewritten = an_entry(event_id=str(stored.event.event_id), event_action="rewritten", if_absent=True)
    requests = [AppendRequest(entries=[rewritten, missing]), AppendRequest(entries=[rewritten], strict=False)]

    plan = append_plan.decide(requests, {stored.event.event_id: stored.content_hash})

    assert plan.new == [missing]
    assert plan.conflicts == []
    assert plan.results == [[None, None], [None]]
    same = an_entry(event_id=str(stored.event.event_id), event_action="rewritten")
    assert rewritten.content_hash == same.content_hash


def test_conflict_is_an_event_once():
    stored = an_entry()
    edited = an_entry(event_id=str(stored.event.event_id), event_action="edited", correlation_id="rr-7")
    otherwise = an_entry(event_id=str(stored.event.event_id), event_action="edited otherwise")
    known = {stored.event.event_id: stored.content_hash}
    requests = [AppendRequest(entries=[edited]), AppendRequest(entries=[edited, otherwise], strict=False)]
    plan = append_plan.decide(requests, known)
    recorded = plan.conflicts[-1].event

    plan.add_conflicts({recorded.event.event_id}, frozenset())

    assert [item.entry for item in plan.conflicts] == [edited]
    (event,) = (entry.event for entry in plan.new)
    assert (event.correlation_id, event.resource_id) == ("rr-7", str(stored.event.event_id))
    assert event.event_id != recorded.event.event_id
    assert canonical.data(event.event_data) == bytes(event.event_data)


def test_attempt_that_the_ledger_cannot_take_is_not_kept_beside_it():
    attempt = ContentConflict(entry=an_entry(), stored_content_hash=bytes(32))
    plan = AppendPlan(conflicts=[attempt])

    plan.add_conflicts(frozenset(), frozenset({partitions.partition_of(attempt.entry.received_at)}))

    assert (plan.conflicts, plan.new) == ([], [])


def test_event_of_a_lost_month_waits_and_so_does_its_child():
    parent = an_entry(event_timestamp="2023-05-17T00:00:00Z")
    child = an_entry(parent_event_id=str(parent.event.event_id))
    good = an_entry()
    lost = frozenset({date(2023, 5, 1)})

    plan = append_plan.decide([AppendRequest(entries=[parent, child, good], strict=False)], {}, lost)

    assert [type(result) for result in plan.results[0]] == [PartitionMissing, PartitionMissing, type(None)]
    assert plan.new == [good]


def test_event_of_a_refused_request_is_not_known_to_the_next():
    first = an_entry()
    bad = an_entry(parent_event_id=str(uuid4()))

    plan = append_plan.decide([AppendRequest(entries=[first, bad]), AppendRequest(entries=[first])], {})

    assert plan.new == [first]
    assert isinstance(plan.results[0][1], ParentMissing)
    assert plan.results[1] == [None]


def test_lenient_request_stores_the_good_ones():
    good = an_entry()
    edited = an_entry(event_id=str(good.event.event_id), event_action="edited")

    plan = append_plan.decide([AppendRequest(entries=[good, edited], strict=False)], {})

    assert plan.new == [good]
    assert isinstance(plan.results[0][1], EventConflict)


def test_parent_may_come_earlier_in_the_batch_and_not_later():
    parent = an_entry()
    child = an_entry(parent_event_id=str(parent.event.event_id))

    assert append_plan.decide([AppendRequest(entries=[parent, child])], {}).new == [parent, child]
    assert append_plan.decide([AppendRequest(entries=[child, parent])], {}).new == []


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), st.integers(0, 5))
def test_rows_follow_each_other_whatever_the_cut(correlations: list[str], cut: int):
    entries = [an_entry(correlation_id=name, event_id=str(UUID(int=n))) for n, name in enumerate(correlations)]
    heads: dict[str, bytes] = {}

    first = chain.link(2, 0, heads, entries[:cut])
    second = chain.link(2, len(first), heads, entries[cut:])
    at_once = chain.link(2, 0, {}, entries)

    rows = first + second
    assert rows == at_once
    assert [row.sequence for row in rows] == list(range(1, len(entries) + 1))
    last = dict.fromkeys(correlations, chain.ORIGIN)
    for row in rows:
        assert row.previous_event_hash == last[row.correlation_id]
        assert row.event_hash == chain.event_hash(last[row.correlation_id], row.content_hash)
        assert row.leaf_hash == chain.leaf_hash(row)
        last[row.correlation_id] = row.event_hash
