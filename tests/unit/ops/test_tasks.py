"""Background work ends with its block, and errors keep their class."""

import asyncio

import pytest

from kubernaut.ops.tasks import background


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
