"""The causal order of the events of one correlation."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.vocabulary import EventType
from kubernaut.datastorage import causality
from kubernaut.datastorage.causality import EventKey
from support.ledger_events import NOW


def a_key(sequence: int, seconds: int, type: str = EventType.PHASE_TRANSITION, parent: int = 0) -> EventKey:
    return EventKey(sequence, UUID(int=sequence), NOW + timedelta(seconds=seconds), type, UUID(int=parent))


def test_what_opened_the_correlation_comes_first_even_when_its_clock_is_ahead():
    assert causality.ordered([a_key(1, 0), a_key(2, 1), a_key(3, 60, EventType.SIGNAL_RECEIVED)]) == [3, 1, 2]


def test_child_with_a_clock_behind_stays_behind_its_parent():
    assert causality.ordered([a_key(1, 10), a_key(2, 5, parent=1), a_key(3, 0, parent=2), a_key(4, 7)]) == [4, 1, 2, 3]


def test_events_of_the_same_time_stay_in_the_order_of_the_ledger():
    assert causality.ordered([a_key(4, 0), a_key(9, 0), a_key(10, 0)]) == [4, 9, 10]


@given(st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(EventType), st.integers(0, 30)), max_size=30))
def test_order_is_complete_and_puts_no_child_before_its_parent(drawn: list[tuple[int, EventType, int]]):
    keys = [
        a_key(sequence, seconds, type, parent % sequence)
        for sequence, (seconds, type, parent) in enumerate(drawn, start=1)
    ]

    order = causality.ordered(keys)

    assert sorted(order) == [key.sequence for key in keys]
    place = {sequence: at for at, sequence in enumerate(order)}
    for key in keys:
        parent = key.parent_event_id.int if key.parent_event_id else 0
        assert parent == 0 or place[parent] < place[key.sequence]
