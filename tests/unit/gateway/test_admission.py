import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubernaut.gateway import admission
from kubernaut.gateway.admission import MAX_ACTIVE_OF_GROUP, MAX_BYTES, AdmissionQueue, Busy
from support.fake_clock import FakeClock


async def enter(queue: AdmissionQueue, stack: AsyncExitStack, group: str, timeout: float = 5.0) -> None:
    await stack.enter_async_context(queue.admitted(group, 1, timeout))


async def test_the_next_one_is_of_the_group_that_has_the_fewest_in_process(monkeypatch):
    monkeypatch.setattr(admission, "MAX_ACTIVE", 2)
    queue = AdmissionQueue()
    order: list[str] = []

    async def notify(group: str) -> None:
        async with queue.admitted(group, 1, 5):
            order.append(group)
            await asyncio.sleep(0)

    async with AsyncExitStack() as long, AsyncExitStack() as short:
        await enter(queue, long, "loud")
        await enter(queue, short, "loud")
        waiting = [asyncio.create_task(notify(group)) for group in ("loud", "loud", "quiet")]
        await asyncio.sleep(0)
        await short.aclose()
        await asyncio.gather(*waiting)

    assert order == ["quiet", "loud", "loud"]
    assert len(queue) == 0


async def test_a_group_that_sends_all_the_time_does_not_delay_another():
    queue = AdmissionQueue()
    async with AsyncExitStack() as active:
        for _ in range(MAX_ACTIVE_OF_GROUP):
            await enter(queue, active, "loud")
        with pytest.raises(Busy, match="no place became free"):
            await enter(queue, active, "loud", timeout=0.01)

        await enter(queue, active, "quiet", timeout=0.01)

    assert len(queue) == 0


async def test_who_gives_up_leaves_its_place_to_the_next(monkeypatch):
    monkeypatch.setattr(admission, "MAX_ACTIVE", 1)
    queue = AdmissionQueue()
    async with AsyncExitStack() as active:
        await enter(queue, active, "first")
        cancelled = asyncio.create_task(enter(queue, active, "second"))
        third = asyncio.create_task(enter(queue, active, "third"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert len(queue) == 1
        await active.aclose()
        await third
        await active.aclose()

    async with queue.admitted("fourth", 1, 0.01):
        pass


async def test_waiting_notifications_are_bounded_in_a_group_and_in_all(monkeypatch):
    monkeypatch.setattr(admission, "MAX_ACTIVE_OF_GROUP", 1)
    monkeypatch.setattr(admission, "MAX_ACTIVE", 1)
    monkeypatch.setattr(admission, "MAX_WAITING_OF_GROUP", 2)
    monkeypatch.setattr(admission, "MAX_WAITING", 3)
    queue = AdmissionQueue()
    async with AsyncExitStack() as active:
        await enter(queue, active, "loud")
        waiting = [asyncio.create_task(enter(queue, active, group)) for group in ("loud", "loud", "other")]
        await asyncio.sleep(0)

        with pytest.raises(Busy, match="2 other notifications of this group"):
            await enter(queue, active, "loud")
        with pytest.raises(Busy, match="3 other notifications wait"):
            await enter(queue, active, "quiet")

        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with queue.admitted("loud", 1, 0.01):
        pass


async def test_bytes_are_bounded_but_one_body_may_have_any_size():
    queue = AdmissionQueue()
    async with queue.admitted("large", MAX_BYTES + 1, 1):
        with pytest.raises(Busy, match="memory"):
            async with queue.admitted("small", 1, 1):
                pass

    async with queue.admitted("small", 1, 1), queue.admitted("other", 1, 1):
        pass


TIMEOUT = 4.0  # seconds


class AdmissionMachine(RuleBasedStateMachine):
    """Notifications arrive, end and give up, many in one turn of the loop; no place is lost or given twice."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(admission, "MAX_ACTIVE", 3)
        self.patch.setattr(admission, "MAX_ACTIVE_OF_GROUP", 2)
        self.clock = FakeClock()
        self.queue = self.clock.at_once(AdmissionQueue)
        self.count = 0
        self.waiting: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self.active: dict[int, tuple[str, asyncio.Event]] = {}

    def teardown(self) -> None:
        for _, task in self.waiting.values():
            task.cancel()
        self.clock.settle()
        for _, end in self.active.values():
            end.set()
        self.clock.settle()
        assert len(self.queue) == 0
        assert self.queue._active.total() == 0
        self.clock.close()
        self.patch.undo()

    async def notification(self, number: int, group: str, timeout: float) -> None:
        end = asyncio.Event()
        try:
            async with self.queue.admitted(group, 1, timeout):
                assert not any(each < number and of == group for each, (of, _) in self.waiting.items())
                del self.waiting[number]
                self.active[number] = group, end
                try:
                    await end.wait()
                finally:
                    del self.active[number]
        except (Busy, asyncio.CancelledError):
            self.waiting.pop(number, None)

    @rule(groups=st.lists(st.sampled_from("ab"), min_size=1, max_size=6))
    def arrive(self, groups):
        for group in groups:
            task = self.clock.create_task(self.notification(self.count, group, TIMEOUT))
            self.waiting[self.count] = group, task
            self.count += 1
        self.clock.settle()

    @precondition(lambda self: self.waiting or self.active)
    @rule(data=st.data())
    def end_and_give_up(self, data):
        ending = data.draw(st.sets(st.sampled_from([*self.active]))) if self.active else set()
        giving_up = data.draw(st.sets(st.sampled_from([*self.waiting]))) if self.waiting else set()
        for number in data.draw(st.permutations([*ending, *giving_up])):
            if number in ending:
                self.active[number][1].set()
            else:
                self.waiting[number][1].cancel()
        self.clock.settle()

    @rule(seconds=st.sampled_from([1.0, TIMEOUT]))
    def pass_time(self, seconds):
        """Those that came together give up together."""
        self.clock.pass_time(seconds)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def end_when_others_give_up(self, data):
        ending = data.draw(st.sampled_from([*self.active]))
        self.clock.call_later(TIMEOUT, self.active[ending][1].set)
        self.clock.pass_time(TIMEOUT)

    @invariant()
    def whoever_may_be_processed_is(self):
        active = [group for group, _ in self.active.values()]
        assert len(active) <= 3
        assert all(active.count(group) <= 2 for group in "ab")
        assert len(self.queue) == len(self.waiting)
        assert self.queue._active.total() == len(active)
        for group, _ in self.waiting.values():
            assert len(active) == 3 or active.count(group) == 2


AdmissionMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
TestAdmission = AdmissionMachine.TestCase
