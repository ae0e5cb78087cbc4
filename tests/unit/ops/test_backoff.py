"""Delays grow, are spread, and never exceed the maximum."""

import random

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.ops.backoff import Backoff


def test_delay_doubles_up_to_its_limit():
    backoff = Backoff(initial_delay=1, max_delay=60, jitter=0)

    assert [backoff.delay(attempt) for attempt in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60]


@given(st.integers(1, 10**9))
def test_delay_stays_within_its_spread(attempt):
    backoff = Backoff(initial_delay=1, max_delay=60, jitter=0.1)

    assert 0.9 <= backoff.delay(attempt) <= 60


def test_the_generator_that_a_program_has_seeded_is_left_alone():
    random.seed(7)
    before = random.getstate()

    Backoff().delay(3)

    assert random.getstate() == before
