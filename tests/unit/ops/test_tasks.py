"""Background work ends with its block, errors keep their class, and shielded work runs to its end."""

import asyncio

import pytest

from kubernaut.ops.tasks import background, shielded


async def test_work_is_cancelled_when_the_block_ends():
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    async with background(work(), "endless") as task:
        await started.wait()

    assert task.cancelled()
    assert task.get_name() == "endless"


async def test_an_error_of_the_work_ends_the_block_as_it_was_raised():
    async def work() -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        async with background(work(), "fails"):
            await asyncio.Event().wait()


async def test_an_error_of_the_block_cancels_the_work_and_leaves_as_it_was_raised():
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(KeyError, match="missing"):
        async with background(work(), "endless") as task:
            raise KeyError("missing")

    assert task.cancelled()


async def test_both_errors_are_kept_when_the_work_fails_while_the_block_ends():
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("while closing")

    with pytest.raises(ExceptionGroup) as raised:
        async with background(work(), "fails late"):
            await asyncio.sleep(0)
            raise KeyError("missing")

    assert {type(error) for error in raised.value.exceptions} == {KeyError, OSError}


async def test_work_that_has_ended_leaves_the_block_alone():
    async def work() -> None:
        return

    async with background(work(), "short") as task:
        await task
        ended = task.done()

    assert ended


@pytest.mark.parametrize("error", [None, KeyError("missing")])
async def test_cleanup_of_the_work_is_not_interrupted_when_the_block_ends(error: Exception | None):
    cleaned_up = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned_up.set()

    try:
        async with background(work(), "cleans up"):
            await asyncio.sleep(0)
            if error:
                raise error
    except KeyError:
        pass

    assert cleaned_up.is_set()


async def test_shielded_work_runs_to_its_end_however_often_it_is_cancelled():
    release, steps = asyncio.Event(), []

    async def work() -> None:
        await release.wait()
        steps.append("work")

    task = asyncio.create_task(shielded(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    release.set()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert steps == ["work"]


async def test_shielded_work_gives_its_result_or_its_error():
    async def work(divisor: int) -> float:
        return 1 / divisor

    assert await shielded(work(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        await shielded(work(0))
