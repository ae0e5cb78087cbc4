"""The token bucket against a model, on a clock that passes only when told."""

import asyncio
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubernaut.kube.flow_control import TokenBucket
from support.fake_clock import FakeClock

RATE, BURST = 4, 3
TICK = 1 / 16
"""Seconds in which a quarter of a token comes; floating-point numbers carry it exactly."""

AFTER_ITS_TURN = 1e-12  # seconds; the loop runs it in the same turn


class TokenBucketMachine(RuleBasedStateMachine):
    """Callers arrive and give up while time passes; whoever may pass by the definition has passed, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.bucket = TokenBucket(RATE, BURST)
        self.tasks: list[asyncio.Task[None]] = []
        self.passed: list[int] = []
        self.quarters = 4 * BURST
        self.waiting: deque[int] = deque()
        self.expected: list[int] = []

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.clock.settle()
        self.clock.close()

    async def caller(self, number: int) -> None:
        await self.bucket.acquire()
        self.passed.append(number)

    def expect(self, quarters: int = 0) -> None:
        """What a token bucket does when so many quarters of a token come."""
        self.quarters = min(4 * BURST, self.quarters + quarters)
        while self.waiting and self.quarters >= 4:
            self.quarters -= 4
            self.expected.append(self.waiting.popleft())

    @rule(count=st.integers(1, 5))
    def arrive(self, count):
        for _ in range(count):
            self.waiting.append(len(self.tasks))
            self.tasks.append(self.clock.create_task(self.caller(len(self.tasks))))
        self.clock.settle()
        self.expect()

    @rule(ticks=st.integers(1, 20))
    def pass_time(self, ticks):
        for _ in range(ticks):
            self.clock.pass_time(TICK)
            self.expect(1)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data):
        for number in data.draw(st.lists(st.sampled_from(list(self.waiting)), min_size=1, max_size=4, unique=True)):
            self.waiting.remove(number)
            self.tasks[number].cancel()
        self.clock.settle()

    @precondition(lambda self: self.waiting)
    @rule()
    def give_up_when_its_turn_has_come(self):
        """The caller has its token and has not run since; the next one gets it."""
        ticks, first = 4 - self.quarters, self.waiting.popleft()
        self.clock.call_later(ticks * TICK + AFTER_ITS_TURN, self.tasks[first].cancel)
        self.clock.pass_time(ticks * TICK)
        self.expect(ticks)
        assert self.tasks[first].cancelled()

    @invariant()
    def those_who_may_pass_have_passed(self):
        assert self.passed == self.expected


TokenBucketMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestTokenBucket = TokenBucketMachine.TestCase


async def test_without_a_rate_everybody_passes_at_once():
    bucket = TokenBucket(rate=0, burst=1)

    callers = [asyncio.create_task(bucket.acquire()) for _ in range(500)]
    await asyncio.sleep(0)

    assert all(caller.done() for caller in callers)
