"""Which of the tests that ran before a victim make it fail, with as few runs as can be.

A victim is known to have failed after its whole history. The search looks for the place in the history at which the
verdict turns from passing to failing: each run takes a longer or shorter beginning of the history, in its order. That
place is there whatever else the history holds, also a test that cleans up what an earlier one left.
The test at that place is then run with the victim only. If the victim passes, others must have helped, and the search
goes on before that place. Nothing is accused that was not seen to make the victim fail by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Fails = Callable[[tuple[str, ...]], bool | None]
"""Whether the victim fails after these tests, in one process; None if that run could not be had."""


@dataclass(frozen=True, kw_only=True)
class Search:
    polluters: tuple[str, ...]
    """In the order of the history; without one of them the victim passes. Empty if nobody can be accused."""
    runs: int
    """At most ceil(log2(len(history))) + 2 for one polluter."""
    fails_alone: bool = False


def find_polluters(history: Sequence[str], fails: Fails, *, most: int = 3) -> Search:
    """Search at most this many polluters that are needed together."""
    if not history:
        return Search(polluters=(), runs=0)
    counted = _Counted(fails)
    alone = counted(())
    if alone is not False:
        return Search(polluters=(), runs=counted.runs, fails_alone=alone is True)
    found: tuple[str, ...] = ()
    candidates = tuple(history)
    while len(found) < most and candidates:
        turn = _turn(candidates, found, counted)
        if turn is None:
            break
        found = (candidates[turn], *found)
        candidates = candidates[:turn]
        verdict = counted(found)
        if verdict is None:
            break
        if verdict:
            return Search(polluters=found, runs=counted.runs)
    return Search(polluters=(), runs=counted.runs)


def _turn(candidates: tuple[str, ...], found: tuple[str, ...], fails: Fails) -> int | None:
    """The candidate with which the victim begins to fail; it passes after none of them and fails after all."""
    passes, failing = 0, len(candidates)
    while failing - passes > 1:
        middle = (passes + failing) // 2
        verdict = fails((*candidates[:middle], *found))
        if verdict is None:
            return None
        if verdict:
            failing = middle
        else:
            passes = middle
    return passes


class _Counted:
    def __init__(self, fails: Fails) -> None:
        self.fails = fails
        self.runs = 0

    def __call__(self, tests: tuple[str, ...]) -> bool | None:
        self.runs += 1
        return self.fails(tests)
