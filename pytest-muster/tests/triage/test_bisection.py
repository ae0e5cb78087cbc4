"""The search for polluters finds them in few runs, and accuses nobody whom it did not see at it."""

from math import ceil, log2

from hypothesis import given
from hypothesis import strategies as st

from pytest_muster.triage.bisection import find_polluters


def history(size):
    return [f"test_{number}" for number in range(size)]


@st.composite
def places(draw, *, of):
    size = draw(st.integers(max(of, 1), 200))
    chosen = draw(st.lists(st.integers(0, size - 1), min_size=of, max_size=of, unique=True))
    return size, sorted(chosen)


@given(places(of=1))
def test_one_polluter_is_found_within_log2_plus_two_runs(case):
    size, [place] = case
    polluter = f"test_{place}"

    search = find_polluters(history(size), lambda tests: polluter in tests)

    assert search.polluters == (polluter,)
    assert search.runs <= ceil(log2(size)) + 2


@given(places(of=2))
def test_two_polluters_needed_together_are_both_found(case):
    size, chosen = case
    polluters = {f"test_{place}" for place in chosen}

    search = find_polluters(history(size), lambda tests: polluters <= set(tests))

    assert set(search.polluters) == polluters
    assert search.runs <= 2 * (ceil(log2(size)) + 1) + 1


@given(places(of=2))
def test_either_of_two_polluters_is_one_that_pollutes_by_itself(case):
    size, chosen = case
    polluters = {f"test_{place}" for place in chosen}

    search = find_polluters(history(size), lambda tests: bool(polluters & set(tests)))

    assert len(search.polluters) == 1
    assert set(search.polluters) <= polluters


@given(places(of=2))
def test_a_test_that_cleans_up_before_the_polluter_does_not_hide_it(case):
    size, (cleaner, polluter) = case

    def fails(tests):
        last = [test for test in tests if test in {f"test_{cleaner}", f"test_{polluter}"}][-1:]
        return last == [f"test_{polluter}"]

    assert find_polluters(history(size), fails).polluters == (f"test_{polluter}",)


@given(st.integers(1, 60), st.booleans())
def test_a_verdict_that_does_not_depend_on_the_history_accuses_nobody(size, verdict):
    search = find_polluters(history(size), lambda tests: verdict)

    assert search.polluters == ()
    assert search.fails_alone is verdict


@given(st.integers(1, 60), st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_flaky_victim_accuses_only_what_was_seen_to_make_it_fail(size, verdicts):
    seen = {}

    def fails(tests):
        seen[tests] = verdicts[len(seen)]
        return seen[tests]

    search = find_polluters(history(size), fails)

    if search.polluters:
        assert seen[search.polluters] is True
        assert seen[()] is False


@given(st.integers(2, 60), st.integers(0, 8))
def test_a_search_whose_runs_end_accuses_nobody(size, allowed):
    runs = iter(range(allowed))

    search = find_polluters(history(size), lambda tests: None if next(runs, None) is None else "test_0" in tests)

    assert search.polluters in {(), ("test_0",)}


def test_without_a_history_nothing_runs():
    assert find_polluters([], lambda tests: True).runs == 0
