"""Which test a worker runs next: plain decisions, without xdist.

A worker of xdist does not begin a test before it knows the one after it, so a plan is asked one test ahead: a worker
holds the test that it runs and one more. Which one that is comes from simulating who will be free when. A test that a
worker holds is then the one that it would have taken anyway had it been asked at the last moment.

Tests are handed out in *units*. A unit is one test, or the tests of a module or class whose fixtures are costly to set
up (or of any module, as long as no run was recorded), in the order of the collection. The longest unit goes first.
When no unit is left, a worker takes the rear part of another worker's unit if both are done sooner that way.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Plan(Protocol):
    """Hands out each test once. Tests are numbers: their positions in the collection."""

    def open(self, worker: str, slot: int) -> None:
        """This worker runs tests from now on."""

    def take(self, worker: str) -> int | None:
        """The test that the worker shall run after those it holds; None if nothing is left for it."""

    def done(self, worker: str, test: int) -> None:
        """The worker has run a test that it held."""

    def close(self, worker: str, unrun: Sequence[int]) -> None:
        """The worker is gone; these tests, which it held, still have to be run."""

    def add(self, test: int) -> None:
        """Run this test, once more perhaps, before the others."""

    @property
    def left(self) -> int:
        """How many tests no worker holds yet."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What earlier runs say about the time that tests need."""

    took: Mapping[str, float] = field(default_factory=dict)
    """Seconds of a test with its own set-up and teardown, without fixtures that it shares with others."""
    shared: Mapping[str, float] = field(default_factory=dict)
    """Seconds that the fixtures of a module or class need, by its node id."""


@dataclass(kw_only=True)
class _Unit:
    tests: deque[int]
    cost: float
    """Seconds to set up what its tests share; nothing for a unit of one test."""


@dataclass(kw_only=True)
class _Queue:
    slot: int
    began: float
    """When the first of the held tests began."""
    held: list[int] = field(default_factory=list)
    unit: _Unit | None = None
    out: bool = False
    """Whether nothing was left for it, so that it will take no part in what is left."""


DEFAULT_DURATION = 0.1  # seconds that a test is thought to need while no test has run at all
MIN_SHARED_COST = 0.005  # seconds; below, fixtures that tests share do not tie them together
MIN_UNIT_SHARE = 0.02  # of a worker's share of the whole; below, a unit does not matter for the makespan


class LongestFirst:
    """The plan of a usual run."""

    def __init__(
        self,
        ids: Sequence[str],
        tests: Iterable[int],
        timings: Timings,
        *,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ids = ids
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        chosen = list(tests)
        known = sorted(timings.took[ids[test]] for test in chosen if ids[test] in timings.took)
        self._took = timings.took
        self._guess = known[len(known) // 2] if known else None
        self._seen = 0
        self._seconds = 0.0
        self._first: deque[int] = deque()
        self._units = self._in_units(chosen, timings, workers) if known else self._in_modules(chosen)
        self.left = len(chosen)

    def open(self, worker: str, slot: int) -> None:
        self._queues[worker] = _Queue(slot=slot, began=self._clock())

    def take(self, worker: str) -> int | None:
        queue = self._queues[worker]
        queue.out = False
        if self._first:
            test = self._first.popleft()
        else:
            if not (queue.unit and queue.unit.tests):
                queue.unit = self._next_unit(worker)
            if queue.unit is None:
                queue.out = True
                return None
            test = queue.unit.tests.popleft()
        if not queue.held:
            queue.began = self._clock()
        queue.held.append(test)
        self.left -= 1
        return test

    def done(self, worker: str, test: int) -> None:
        queue = self._queues[worker]
        now = self._clock()
        queue.held.remove(test)
        self._seen += 1
        self._seconds += now - queue.began
        queue.began = now

    def close(self, worker: str, unrun: Sequence[int]) -> None:
        queue = self._queues.pop(worker)
        rest = [*unrun, *(queue.unit.tests if queue.unit else ())]
        if rest:
            cost = queue.unit.cost if queue.unit else 0.0
            self._units.insert(0, _Unit(tests=deque(rest), cost=cost))
        self.left += len(unrun)

    def add(self, test: int) -> None:
        self._first.append(test)
        self.left += 1

    def _seconds_of(self, test: int) -> float:
        known = self._took.get(self._ids[test])
        if known is not None:
            return known
        if self._guess is not None:
            return self._guess
        return self._seconds / self._seen if self._seen else DEFAULT_DURATION

    def _sum(self, tests: Iterable[int]) -> float:
        return sum(map(self._seconds_of, tests))

    def _in_modules(self, tests: Sequence[int]) -> list[_Unit]:
        modules: dict[str, _Unit] = {}
        for test in tests:
            modules.setdefault(_module(self._ids[test]), _Unit(tests=deque(), cost=0.0)).tests.append(test)
        return list(modules.values())

    def _in_units(self, tests: Sequence[int], timings: Timings, workers: int) -> list[_Unit]:
        groups: dict[str, list[int]] = {}
        for test in tests:
            shares = next((scope for scope in _scopes(self._ids[test]) if scope in timings.shared), None)
            groups.setdefault(shares or self._ids[test], []).append(test)
        units = []
        for scope, members in groups.items():
            cost, seconds = timings.shared.get(scope, 0.0), self._sum(members)
            if cost >= max(MIN_SHARED_COST, 0.05 * seconds / len(members)):
                # A test that outweighs the set-up may go alone: it would hold the others of its unit up.
                alone = [test for test in members if self._seconds_of(test) > max(4 * cost, seconds / 4)]
            else:
                alone, cost = members, 0.0
            units += [_Unit(tests=deque([test]), cost=cost) for test in alone]
            if together := [test for test in members if test not in set(alone)]:
                units.append(_Unit(tests=deque(together), cost=cost))
        # What is short comes last and in the order of the collection: neighbours stay together, and an order that
        # pytest-randomly drew stays drawn.
        lengths = [self._length(unit) for unit in units]
        short = MIN_UNIT_SHARE * sum(lengths) / workers
        positions = sorted(
            range(len(units)), key=lambda position: -lengths[position] if lengths[position] >= short else 0.0
        )
        return [units[position] for position in positions]

    def _length(self, unit: _Unit) -> float:
        return unit.cost + self._sum(unit.tests)

    def _free_at(self, queue: _Queue) -> float:
        """Seconds until the worker has nothing more to do."""
        if not queue.held:
            return self._sum(queue.unit.tests) if queue.unit else 0.0
        # A test that is overdue by some time will be so by as much again, as far as anybody knows.
        running = abs(self._seconds_of(queue.held[0]) - (self._clock() - queue.began))
        return running + self._sum(queue.held[1:]) + (self._sum(queue.unit.tests) if queue.unit else 0.0)

    def _next_unit(self, worker: str) -> _Unit | None:
        """Whom list scheduling gives which unit: run forward until this worker gets one."""
        free = [(self._free_at(queue), queue.slot, name) for name, queue in self._queues.items() if not queue.out]
        heapq.heapify(free)
        last: dict[str, _Unit] = {}
        for position, unit in enumerate(self._units):
            at, slot, name = free[0]
            if name == worker:
                return self._units.pop(position)
            last[name] = unit
            heapq.heapreplace(free, (at + self._length(unit), slot, name))
        return self._share(worker, free, last)

    def _share(self, worker: str, ends: list[tuple[float, int, str]], last: Mapping[str, _Unit]) -> _Unit | None:
        """The rear part of a unit of the worker that is busy longest, if both are done sooner that way."""
        mine = next(at for at, _, name in ends if name == worker)
        for theirs, _, name in sorted(ends, reverse=True):
            unit = last.get(name) or self._queues[name].unit
            if name == worker or unit is None or not unit.tests:
                continue
            moved: deque[int] = deque()
            i_end, they_end = mine + unit.cost, theirs
            for test in reversed(unit.tests):
                i_end, they_end = i_end + self._seconds_of(test), they_end - self._seconds_of(test)
                # The first one only has to end sooner here than there; more of them must not make this the longer one.
                if i_end >= theirs or (moved and i_end > they_end + 1e-9):
                    break
                moved.appendleft(test)
            if not moved:
                continue
            for _ in moved:
                unit.tests.pop()
            if not unit.tests and unit in self._units:
                self._units.remove(unit)
            return _Unit(tests=moved, cost=unit.cost)
        return None


class GivenOrder:
    """Single tests in the order in which they were given, each for the first worker that is free."""

    def __init__(self, tests: Iterable[int]) -> None:
        self._tests = deque(tests)

    @property
    def left(self) -> int:
        return len(self._tests)

    def open(self, worker: str, slot: int) -> None:
        """All workers are alike."""

    def take(self, worker: str) -> int | None:
        return self._tests.popleft() if self._tests else None

    def done(self, worker: str, test: int) -> None:
        """Nothing follows from it."""

    def close(self, worker: str, unrun: Sequence[int]) -> None:
        self._tests.extendleft(reversed(unrun))

    def add(self, test: int) -> None:
        self._tests.appendleft(test)


class Replay:
    """Each slot has its own tests, in their order; nobody else runs them."""

    def __init__(self, queues: Mapping[int, Iterable[int]]) -> None:
        self._queues = {slot: deque(tests) for slot, tests in queues.items()}
        self._slots: dict[str, int] = {}

    @property
    def left(self) -> int:
        return sum(map(len, self._queues.values()))

    def open(self, worker: str, slot: int) -> None:
        self._slots[worker] = slot
        self._queues.setdefault(slot, deque())

    def take(self, worker: str) -> int | None:
        queue = self._queues[self._slots[worker]]
        return queue.popleft() if queue else None

    def done(self, worker: str, test: int) -> None:
        """Nothing follows from it."""

    def close(self, worker: str, unrun: Sequence[int]) -> None:
        self._queues[self._slots.pop(worker)].extendleft(reversed(unrun))

    def add(self, test: int) -> None:
        self._queues[min(self._slots.values(), default=min(self._queues))].appendleft(test)


def _module(test: str) -> str:
    return test.partition("::")[0]


def _scopes(test: str) -> Iterable[str]:
    """The node ids of the module and the classes around a test, the widest first."""
    parts = test.partition("[")[0].split("::")
    return ["::".join(parts[:count]) for count in range(1, len(parts))]
