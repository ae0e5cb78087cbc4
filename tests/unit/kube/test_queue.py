"""The queue's promises, one by one and against a model."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.queue import QueueShutDown, WorkQueue
from kubernaut.ops.backoff import Backoff
from support.fake_clock import FakeClock


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    loop = FakeClock()
    yield loop
    loop.close()


def a_queue(**more: object) -> WorkQueue[str]:
    return WorkQueue("test", Backoff(jitter=0.0), **more)


async def test_duplicates_are_queued_once():
    queue = a_queue()
    for key in ("a", "b", "a", "a"):
        queue.add(key)

    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_key_added_while_in_processing_is_queued_when_that_is_done():
    queue = a_queue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert len(queue) == 0

    queue.done(key)

    assert await queue.get() == "a"


async def test_key_that_was_not_added_again_does_not_come_back():
    queue = a_queue()
    queue.add("a")
    queue.done(await queue.get())

    assert queue.is_idle


async def test_get_waits_for_a_key():
    queue = a_queue()
    getter = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")

    assert await getter == "a"


async def test_getter_that_was_woken_and_cancelled_loses_no_key():
    queue = a_queue()
    first = asyncio.ensure_future(queue.get())
    second = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()

    assert await asyncio.wait_for(second, 1) == "a"


async def test_queue_that_was_shut_down_returns_what_is_queued_and_then_raises():
    queue = a_queue()
    queue.add("a")
    queue.add_after("b", 0.001)
    queue.shutdown()
    queue.add("c")

    assert await queue.get() == "a"
    with pytest.raises(QueueShutDown):
        await queue.get()


async def test_shutdown_wakes_all_getters():
    queue = a_queue()
    getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shutdown()

    answers = await asyncio.gather(*getters, return_exceptions=True)

    assert [type(answer) for answer in answers] == [QueueShutDown] * 3


def test_backoff_doubles_up_to_its_maximum(clock: FakeClock):
    queue = a_queue()

    delays = [clock.at_once(lambda: queue.add_rate_limited("a")) for _ in range(8)]

    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_forget_resets_the_backoff(clock: FakeClock):
    queue = a_queue()
    for _ in range(3):
        clock.at_once(lambda: queue.add_rate_limited("a"))
    queue.forget("a")

    assert clock.at_once(lambda: queue.add_rate_limited("a")) == 1


def test_minimum_delay_overrides_a_shorter_backoff(clock: FakeClock):
    queue = a_queue()

    assert clock.at_once(lambda: queue.add_rate_limited("a", min_delay=17)) == 17
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
    assert clock.run_until_complete(queue.get()) == "a"
    queue.done("a")

    clock.pass_time(20)

    assert len(queue) == 0


async def test_depth_adds_and_age_are_counted():
    registry = CollectorRegistry()
    queue = a_queue(metrics=KubeMetrics(registry))
    queue.add("a")
    queue.add("b")
    queue.add("a")
    await queue.get()

    name = {"name": "test"}
    assert registry.get_sample_value("workqueue_depth", name) == 1
    assert registry.get_sample_value("workqueue_adds_total", name) == 2
    assert registry.get_sample_value("workqueue_queue_duration_seconds_count", name) == 1
    assert registry.get_sample_value("workqueue_longest_running_processor_seconds", name) > 0


KEYS = st.sampled_from("abcd")
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])


class QueueAgainstModel(RuleBasedStateMachine):
    """The model: an ordered list of queued keys, two sets, and for each delayed key the time it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.queue = a_queue()
        self.queued: list[str] = []
        self.processing: set[str] = set()
        self.dirty: set[str] = set()
        self.delayed: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    def teardown(self) -> None:
        self.queue.shutdown()
        self.clock.close()

    def model_add(self, key: str) -> None:
        if key in self.processing:
            self.dirty.add(key)
        elif key not in self.queued:
            self.queued.append(key)

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
    def add_rate_limited(self, key: str) -> None:
        delay = self.clock.at_once(lambda: self.queue.add_rate_limited(key))
        self.failures[key] = self.failures.get(key, 0) + 1
        assert delay == min(60.0, 2.0 ** (self.failures[key] - 1))
        self.model_delay(key, delay)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @precondition(lambda self: self.queued)
    @rule()
    def get(self) -> None:
        key = self.clock.run_until_complete(self.queue.get())
        assert key not in self.processing
        assert key == self.queued.pop(0)
        self.processing.add(key)

    @precondition(lambda self: self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.processing)))
        self.clock.at_once(lambda: self.queue.done(key))
        self.processing.discard(key)
        if key in self.dirty:
            self.dirty.discard(key)
            self.queued.append(key)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.clock.pass_time(seconds)
        due = [key for key, when in self.delayed.items() if when <= self.clock.now]
        for key in sorted(due, key=lambda key: self.delayed[key]):
            del self.delayed[key]
            self.model_add(key)
        # Keys whose delays end at the same moment may come in any order.
        assert sorted(self.queue._queue) == sorted(self.queued)
        self.queued = list(self.queue._queue)

    @invariant()
    def same_keys_are_queued(self) -> None:
        assert list(self.queue._queue) == self.queued
        assert self.queue.is_idle == (not self.queued and not self.processing)

    @invariant()
    def same_failures(self) -> None:
        assert {key: self.queue.num_requeues(key) for key in "abcd"} == {
            key: self.failures.get(key, 0) for key in "abcd"
        }


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
