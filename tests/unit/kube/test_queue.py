"""The queue's promises, one by one and against a model."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.queue import QueueClosed, WorkQueue
from kubernaut.ops.backoff import Backoff

T = TypeVar("T")


class FakeClock(asyncio.SelectorEventLoop):
    """A loop whose time passes only when told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    def settle(self) -> None:
        for _ in range(5):
            self.run_until_complete(asyncio.sleep(0))

    def at_once(self, act: Callable[[], T]) -> T:
        async def within() -> T:
            return act()

        return self.run_until_complete(within())


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    loop = FakeClock()
    yield loop
    loop.close()


def a_queue(**more: object) -> WorkQueue[str]:
    return WorkQueue("test", Backoff(jitter=0.0), **more)


async def test_duplicates_fold():
    queue = a_queue()
    for key in ("a", "b", "a", "a"):
        queue.add(key)

    assert len(queue) == 2
    assert [await queue.take(), await queue.take()] == ["a", "b"]


async def test_key_added_while_it_is_worked_on_waits_until_that_is_done():
    queue = a_queue()
    queue.add("a")
    key = await queue.take()
    queue.add("a")
    assert len(queue) == 0

    queue.done(key)

    assert await queue.take() == "a"


async def test_key_that_was_not_added_again_does_not_come_back():
    queue = a_queue()
    queue.add("a")
    queue.done(await queue.take())

    assert queue.is_idle


async def test_taker_waits_for_a_key():
    queue = a_queue()
    taker = asyncio.ensure_future(queue.take())
    await asyncio.sleep(0)
    queue.add("a")

    assert await taker == "a"


async def test_taker_that_was_woken_and_cancelled_loses_no_key():
    queue = a_queue()
    first = asyncio.ensure_future(queue.take())
    second = asyncio.ensure_future(queue.take())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()

    assert await asyncio.wait_for(second, 1) == "a"


async def test_closed_queue_gives_out_what_is_ready_and_then_ends():
    queue = a_queue()
    queue.add("a")
    queue.add_after("b", 0.001)
    queue.close()
    queue.add("c")

    assert await queue.take() == "a"
    with pytest.raises(QueueClosed):
        await queue.take()


async def test_closing_wakes_all_takers():
    queue = a_queue()
    takers = [asyncio.ensure_future(queue.take()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()

    answers = await asyncio.gather(*takers, return_exceptions=True)

    assert [type(answer) for answer in answers] == [QueueClosed] * 3


def test_failures_are_delayed_twice_as_long_each_time_up_to_the_most(clock: FakeClock):
    queue = a_queue()

    delays = [clock.at_once(lambda: queue.add_failed("a")) for _ in range(8)]

    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_forgotten_failures_start_anew(clock: FakeClock):
    queue = a_queue()
    for _ in range(3):
        clock.at_once(lambda: queue.add_failed("a"))
    queue.forget("a")

    assert clock.at_once(lambda: queue.add_failed("a")) == 1


def test_server_that_asks_for_more_time_gets_it(clock: FakeClock):
    queue = a_queue()

    assert clock.at_once(lambda: queue.add_failed("a", at_least=17)) == 17
    clock.pass_time(16)
    assert len(queue) == 0
    clock.pass_time(2)
    assert len(queue) == 1


def test_of_several_delays_the_first_to_end_counts(clock: FakeClock):
    queue = a_queue()
    for seconds in (10, 3, 7):
        clock.at_once(lambda seconds=seconds: queue.add_after("a", seconds))
    clock.pass_time(3)
    assert len(queue) == 1
    assert clock.run_until_complete(queue.take()) == "a"
    queue.done("a")

    clock.pass_time(20)

    assert len(queue) == 0


async def test_depth_adds_and_age_are_counted():
    registry = CollectorRegistry()
    queue = a_queue(metrics=KubeMetrics(registry))
    queue.add("a")
    queue.add("b")
    queue.add("a")
    await queue.take()

    name = {"name": "test"}
    assert registry.get_sample_value("workqueue_depth", name) == 1
    assert registry.get_sample_value("workqueue_adds_total", name) == 2
    assert registry.get_sample_value("workqueue_queue_duration_seconds_count", name) == 1
    assert registry.get_sample_value("workqueue_longest_running_processor_seconds", name) > 0


KEYS = st.sampled_from("abcd")
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])


class QueueAgainstModel(RuleBasedStateMachine):
    """The model: an ordered list of ready keys, two sets, and for each delayed key the time it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.queue = a_queue()
        self.ready: list[str] = []
        self.active: set[str] = set()
        self.again: set[str] = set()
        self.delayed: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    def teardown(self) -> None:
        self.queue.close()
        self.clock.close()

    def model_add(self, key: str) -> None:
        if key in self.active:
            self.again.add(key)
        elif key not in self.ready:
            self.ready.append(key)

    def model_delay(self, key: str, seconds: float) -> None:
        if seconds <= 0:
            self.model_add(key)
        else:
            when = self.clock.now + seconds
            self.delayed[key] = min(when, self.delayed.get(key, when))

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.clock.at_once(lambda: self.queue.add(key))
        self.model_add(key)

    @rule(key=KEYS, seconds=SECONDS)
    def add_after(self, key: str, seconds: float) -> None:
        self.clock.at_once(lambda: self.queue.add_after(key, seconds))
        self.model_delay(key, seconds)

    @rule(key=KEYS)
    def add_failed(self, key: str) -> None:
        delay = self.clock.at_once(lambda: self.queue.add_failed(key))
        self.failures[key] = self.failures.get(key, 0) + 1
        assert delay == min(60.0, 2.0 ** (self.failures[key] - 1))
        self.model_delay(key, delay)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @precondition(lambda self: self.ready)
    @rule()
    def take(self) -> None:
        key = self.clock.run_until_complete(self.queue.take())
        assert key not in self.active
        assert key == self.ready.pop(0)
        self.active.add(key)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.active)))
        self.clock.at_once(lambda: self.queue.done(key))
        self.active.discard(key)
        if key in self.again:
            self.again.discard(key)
            self.ready.append(key)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.clock.pass_time(seconds)
        due = [key for key, when in self.delayed.items() if when <= self.clock.now]
        for key in sorted(due, key=lambda key: self.delayed[key]):
            del self.delayed[key]
            self.model_add(key)
        # Keys whose delays end at the same moment may come in any order.
        assert sorted(self.queue._ready) == sorted(self.ready)
        self.ready = list(self.queue._ready)

    @invariant()
    def same_keys_are_ready(self) -> None:
        assert list(self.queue._ready) == self.ready
        assert self.queue.is_idle == (not self.ready and not self.active)

    @invariant()
    def same_failures(self) -> None:
        assert {key: self.queue.failures(key) for key in "abcd"} == {key: self.failures.get(key, 0) for key in "abcd"}


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
