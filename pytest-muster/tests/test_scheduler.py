"""Every test once, serial ones alone, no test held for nothing: a model of the workers."""

import heapq
import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pytest_muster.schedule.plans import LongestFirst, Timings
from pytest_muster.schedule.scheduler import Dispatcher


@dataclass(eq=False)
class Node:
    """A worker as xdist's controller sees it, and as it behaves: it begins no test before it knows the next one."""

    name: str
    queue: list[int | None] = field(default_factory=list)
    running: int | None = None
    shutting_down: bool = False
    most_waiting: int = 0

    @property
    def gateway(self):
        return SimpleNamespace(id=self.name)

    def send_runtest_some(self, tests):
        self.queue += tests
        first = 0 if self.running is not None else 1  # the one that it begins at once
        self.most_waiting = max(self.most_waiting, len(self.queue) - first)

    def shutdown(self):
        self.shutting_down = True
        self.queue.append(None)

    @property
    def ready(self):
        return self.running is None and len(self.queue) > 1 and self.queue[0] is not None

    @property
    def ended(self):
        return self.running is None and self.queue[:1] == [None]


class Suite:
    """A run in simulated time."""

    def __init__(self, took, serial, *, workers, crashing=(), timings=None):
        self.now = 0.0
        self.took = took
        self.crashing = set(crashing)
        self.tests = [f"test_{number // 5}.py::test_{number}" for number in range(len(took))]
        self.gate_opened = False
        parallel = [number for number in range(len(took)) if number not in serial]
        plan = LongestFirst(self.tests, parallel, timings or Timings(), workers=workers, clock=lambda: self.now)
        self.dispatcher = Dispatcher(self.tests, plan, sorted(serial), open_gate=self.open_gate)
        self.slots: dict[int, Node] = {}
        self.spans: list[tuple[int, float, float]] = []
        self.passed: list[int] = []
        self.crashed: list[int] = []
        self.most_waiting = 0
        self.events: list[tuple[float, int, str, Node]] = []
        self.numbers = itertools.count()  # of events, so that those of one moment have an order
        self.count = 0
        for _ in range(workers):
            self.join(self.start())
        self.dispatcher.feed()

    def open_gate(self):
        assert not any(node.running is not None for node in self.slots.values())
        self.gate_opened = True

    def start(self):
        self.count += 1
        slot = next(number for number in range(1, 100) if number not in self.slots)
        node = self.slots[slot] = Node(f"gw{self.count}")
        return node

    def join(self, node):
        self.dispatcher.join(node, next(slot for slot, one in self.slots.items() if one is node))

    def later(self, seconds, what, node):
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), what, node))

    def move(self):
        """What the workers do by themselves."""
        for node in list(self.slots.values()):
            if node.ready:
                node.running = node.queue.pop(0)
                self.dispatcher.began(self.tests[node.running])
                self.spans.append((node.running, self.now, self.now + self.took[node.running]))
                self.later(self.took[node.running], "crash" if node.running in self.crashing else "done", node)
            elif node.ended:
                self.later(0.01, "end", node)
                node.queue = [0]  # it waits for nothing any more

    def run(self):
        while self.slots:
            self.move()
            assert self.events, f"the run stands still: {self.slots}"
            self.now, _, what, node = heapq.heappop(self.events)
            if what == "done":
                test, node.running = node.running, None
                self.passed.append(test)
                self.dispatcher.done(node, test)
            elif what == "ready":
                self.join(node)
                self.dispatcher.feed()
            else:
                self.gone(node, crashed=what == "crash")
            self.most_waiting = max(self.most_waiting, node.most_waiting)
        return self

    def gone(self, node, *, crashed):
        del self.slots[next(slot for slot, one in self.slots.items() if one is node)]
        blamed = self.dispatcher.leave(node)
        if crashed:
            self.crashed.append(blamed)
        else:
            assert blamed is None
        if crashed and self.dispatcher.busy:
            self.later(0.5, "ready", self.start())

    def overlaps(self, serial):
        return [
            (one, other)
            for one, begin, end in self.spans
            if one in serial
            for other, other_begin, other_end in self.spans
            if other != one and begin < other_end and other_begin < end
        ]


@given(
    took=st.lists(st.floats(0.01, 10), max_size=40),
    workers=st.integers(1, 5),
    data=st.data(),
)
def test_every_test_runs_once_and_serial_ones_alone_whatever_crashes(took, workers, data):
    numbers = st.integers(0, max(len(took) - 1, 0))
    serial = data.draw(st.sets(numbers, max_size=10)) & set(range(len(took)))
    crashing = data.draw(st.sets(numbers, max_size=5)) & set(range(len(took)))
    known = data.draw(st.dictionaries(numbers, st.floats(0, 10)))  # as wrong as can be
    timings = Timings(
        took={f"test_{number // 5}.py::test_{number}": thought for number, thought in known.items()},
        shared=data.draw(st.dictionaries(st.sampled_from([f"test_{n}.py" for n in range(8)]), st.floats(0, 5))),
    )

    suite = Suite(took, serial, workers=workers, crashing=crashing, timings=timings).run()

    assert sorted(suite.passed + suite.crashed) == list(range(len(took)))
    assert sorted(suite.crashed) == sorted(crashing)
    assert suite.overlaps(serial) == []
    assert suite.most_waiting <= 1  # besides the running one
    assert not suite.dispatcher.busy


def ideal(took, workers):
    return max(max(took), sum(took) / workers)


@given(took=st.lists(st.floats(0.1, 10), min_size=1, max_size=60), workers=st.integers(1, 8))
def test_with_known_durations_the_makespan_is_that_of_list_scheduling(took, workers):
    timings = Timings(took={f"test_{number // 5}.py::test_{number}": seconds for number, seconds in enumerate(took)})

    suite = Suite(took, set(), workers=workers, timings=timings).run()

    queues = [0.0] * workers
    for seconds in sorted(took, reverse=True):
        heapq.heapreplace(queues, queues[0] + seconds)
    assert max(end for _, _, end in suite.spans) <= max(max(queues), 1.03 * ideal(took, workers)) * 1.0001


def test_a_worker_that_was_sent_home_is_not_counted_on():
    timings = Timings(took={"test_0.py::test_0": 0.0, "test_0.py::test_1": 0.25, "test_0.py::test_3": 1.0})

    suite = Suite([1.0] * 5, {2}, workers=2, timings=timings).run()

    assert sorted(suite.passed) == [0, 1, 2, 3, 4]
