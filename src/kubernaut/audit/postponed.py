"""The order of events that have to wait for a clock."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class PostponedEvents:
    """The events of one correlation that were moved behind all others of the spool.

    In the end all are sent in the order in which they were recorded, together with what was recorded while they were
    being moved: an event goes behind the others as long as an older one of its correlation stands behind it.
    """

    def __init__(self) -> None:
        self._recorded: dict[int, int] = {}  # their numbers now, ascending, to those under which they were recorded
        self._numbers: list[int] = []
        self._oldest: Sequence[float] = []  # of each of these numbers and all behind it, the first that was recorded
        self._oldest_moved: float = math.inf  # the same of those that were moved since

    def must_move(self, seq: int) -> bool:
        behind = bisect_right(self._numbers, seq)
        oldest = self._oldest[behind] if behind < len(self._oldest) else math.inf
        return min(oldest, self._oldest_moved) < self._recorded.get(seq, seq)

    def stands_behind(self, seq: int) -> bool:
        return bool(self._recorded) and next(reversed(self._recorded)) > seq

    def forget(self, before: int) -> None:
        """Forget what stood before that number, which is the first one that waits, and is done."""
        self._recorded = {number: recorded for number, recorded in self._recorded.items() if number >= before}
        self._numbers = list(self._recorded)
        self._oldest = list(accumulate(reversed(self._recorded.values()), min))[::-1]
        self._oldest_moved = math.inf

    def moved(self, old: int, new: int) -> None:
        """An event went from the first number that waits to the last."""
        self._recorded[new] = recorded = self._recorded.pop(old, old)
        self._oldest_moved = min(self._oldest_moved, recorded)
