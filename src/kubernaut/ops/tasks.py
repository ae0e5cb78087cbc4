"""Work that runs beside a block and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block, and cancel it when the block ends.

    An error of the work ends the block, and an error of the block ends the work; a lone error leaves as it was raised,
    not inside an exception group. A block that must let the work finish awaits the task before it ends.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work, name=name)
            try:
                yield task
            finally:
                task.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None


def first_error(error: BaseException) -> BaseException:
    """The error itself, or the first one inside nested exception groups: what a person should read about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
