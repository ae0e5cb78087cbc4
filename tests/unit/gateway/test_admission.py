import asyncio
from contextlib import AsyncExitStack

import pytest

from kubernaut.gateway import admission
from kubernaut.gateway.admission import MAX_ACTIVE_OF_GROUP, MAX_BYTES, AdmissionQueue, Busy


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
