"""Work that runs beside a block and ends with it, and work that a cancellation must not interrupt."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block, and cancel it when the block ends.

    An error of the work ends the block, and an error of the block ends the work; a lone error leaves as it was raised,
    not inside an exception group. A block that must let the work finish awaits the task before it ends.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work, name=name)
            yield task
            # When the block raises, the group cancels. A second cancellation would interrupt the work's own cleanup.
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


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Run short work to its end; a cancellation that comes meanwhile is raised afterwards.

    For what must not stop halfway, such as starting a process or waiting for one that was killed.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # retrieved, so that nobody warns about it
    raise cancelled
