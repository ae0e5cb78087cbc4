"""Where moments stand on the picture of a timeline; pure.

The scale is linear, except that a gap which would leave nothing of all the shorter ones is cut short and labelled: a
signal is decided within a second, and its next occurrence may come a day later.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

GAP_FACTOR = 20
"""A gap this many times as long as all shorter ones together is cut short."""

GAP_SHARE = 0.25
"""What a cut gap takes, in parts of all shorter ones."""

MARGIN = 1.5
"""Percent of the width on both sides."""

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class CutGap:
    """A stretch in which nothing happened, shown shorter than it was."""

    middle: float
    """Percent of the width."""

    length: timedelta

    @property
    def text(self) -> str:
        """How long it was."""
        return duration_text(self.length)


class TimeScale:
    """From times to percent of the width."""

    def __init__(self, times: Iterable[datetime]) -> None:
        self._times = sorted(set(times))
        gaps = [after - before for before, after in pairwise(self._times)]
        limit = _limit(gaps)
        is_cut = [bool(limit) and gap > limit * GAP_FACTOR for gap in gaps]
        lengths = [limit / _SECOND * GAP_SHARE if cut else gap / _SECOND for gap, cut in zip(gaps, is_cut, strict=True)]
        self._places = [MARGIN]
        self.cut_gaps: list[CutGap] = []
        for gap, cut, length in zip(gaps, is_cut, lengths, strict=True):
            start = self._places[-1]
            end = start + (100 - 2 * MARGIN) * (length / sum(lengths))
            self._places.append(end)
            if cut:
                self.cut_gaps.append(CutGap(middle=(start + end) / 2, length=gap))

    def at(self, time: datetime) -> float:
        """The place of a time between the first and the last one of the scale."""
        after = min(max(bisect_right(self._times, time), 1), len(self._times) - 1)
        if after < 1:
            return MARGIN
        start, end = self._times[after - 1], self._times[after]
        share = (time - start) / (end - start)
        return self._places[after - 1] + share * (self._places[after] - self._places[after - 1])


def _limit(gaps: list[timedelta]) -> timedelta:
    """The sum of the gaps before the first one that is much longer; zero when none is."""
    total = timedelta()
    for gap in sorted(gaps):
        if total and gap > total * GAP_FACTOR:
            return total
        total += gap
    return timedelta()


_UNITS = (("ms", 1e3, 1e6), ("s", 1e6, 120e6), ("min", 60e6, 7200e6), ("h", 3600e6, 172_800e6))
"""Each with its microseconds, and the duration from which on the next one fits."""


def duration_text(span: timedelta) -> str:
    """A duration in the unit that fits it, two digits at least."""
    microseconds = span // timedelta(microseconds=1)
    if abs(microseconds) < 1000:
        return f"{microseconds} µs"
    for unit, size, limit in _UNITS:
        value = microseconds / size
        if abs(microseconds) < limit:
            return f"{value:.3g} {unit}" if abs(value) < 999.5 else f"{value:.0f} {unit}"
    return f"{microseconds / 86_400e6:,.1f} days"
