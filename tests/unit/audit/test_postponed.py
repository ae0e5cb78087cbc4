"""Events of one correlation that wait for a clock are sent as they were recorded, whatever is recorded meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.audit.postponed import PostponedEvents


@given(
    refused=st.lists(st.integers(1, 6), max_size=8),
    recorded=st.lists(st.integers(0, 3), max_size=40),
)
def test_what_waits_is_sent_as_it_was_recorded(refused, recorded):
    """`refused` says which of the first events the store refuses that often; `recorded` how many come at each step."""
    postponed = PostponedEvents()
    last = 6
    spool = [(number, number) for number in range(1, last + 1)]  # number now, number when it was recorded
    refusals = {number: refused.count(number) for number in range(1, 7)}
    coming, sent = list(recorded), []
    for _ in range(10_000):
        if not spool:
            break
        for _ in range(coming.pop() if coming else 0):
            last += 1
            spool.append((last, last))
        number, event = spool[0]
        postponed.forget(number)
        is_refused = refusals.get(event, 0) > 0
        if postponed.must_move(number) or is_refused:
            if is_refused and not postponed.must_move(number):
                refusals[event] -= 1
            last += 1
            postponed.moved(number, last)
            spool[0:1] = []
            spool.append((last, event))
        else:
            sent.append(event)
            spool.pop(0)

    assert spool == []
    assert sent == sorted(sent)
