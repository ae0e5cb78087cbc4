"""Places of moments on the picture of a timeline."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.datastorage.web.time_scale import MARGIN, TimeScale, duration_text

START = datetime(2026, 11, 22, 20, tzinfo=UTC)


def at(milliseconds: float) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=40))
def test_order_is_kept_and_nothing_leaves_the_picture(times):
    scale = TimeScale(times)

    places = [scale.at(time) for time in sorted(times)]
    assert places == sorted(places)
    assert all(MARGIN - 1e-6 <= place <= 100 - MARGIN + 1e-6 for place in places)


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=40, unique=True))
def test_different_moments_never_share_a_place(microseconds):
    times = sorted(START + timedelta(microseconds=each) for each in microseconds)
    scale = TimeScale(times)

    places = [scale.at(time) for time in times]
    assert all(before < after for before, after in itertools.pairwise(places))


def test_even_times_are_spread_evenly():
    scale = TimeScale([at(0), at(100), at(200), at(400)])

    assert [round(scale.at(at(each)), 2) for each in (0, 100, 200, 300, 400)] == [1.5, 25.75, 50, 74.25, 98.5]
    assert scale.cut_gaps == []


def test_a_day_of_silence_does_not_squeeze_the_second_before_it():
    scale = TimeScale([at(0), at(100), at(450), at(86_400_450)])

    assert [gap.length for gap in scale.cut_gaps] == [timedelta(days=1)]
    assert scale.at(at(450)) > 75
    assert scale.at(at(450)) < scale.cut_gaps[0].middle < scale.at(at(86_400_450))


@pytest.mark.parametrize("count", [1, 3])
def test_one_moment_stands_at_the_left(count):
    assert TimeScale([at(5)] * count).at(at(5)) == MARGIN


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0 µs"),
        (timedelta(microseconds=999), "999 µs"),
        (timedelta(microseconds=1500), "1.5 ms"),
        (timedelta(milliseconds=462), "462 ms"),
        (timedelta(milliseconds=1234), "1.23 s"),
        (timedelta(seconds=90), "90 s"),
        (timedelta(minutes=25), "25 min"),
        (timedelta(hours=30), "30 h"),
        (timedelta(days=400), "400.0 days"),
        (timedelta(days=2_900_000), "2,900,000.0 days"),
    ],
)
def test_duration_is_in_the_unit_that_fits(span, text):
    assert duration_text(span) == text
