"""Cancelling a program at every one of its awaits, to see whether it cleans up behind itself.

Every task of the program is counted by its name. At one await of one of them the whole program is cancelled: while it
waits, when what it waits for has just been done, or again and again during its own cleanup.
"""

import asyncio
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAIN = "main"


class Moment(StrEnum):
    """When the cancellation arrives."""

    WAITING = "waiting"
    DONE = "done"
    """The awaited result is there, and the task has not resumed yet."""
    REPEATED = "repeated"
    """At this await and at every later one of the same task."""


@dataclass(frozen=True)
class Cancellation:
    """The await at which a program is cancelled."""

    task: str
    number: int
    moment: Moment


def run_cancelled(
    program: Callable[[], Coroutine[Any, Any, None]],
    cancellation: Cancellation | None,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Counter[str]:
    """Run the program in a loop of its own, until that loop ends; the number of awaits by the name of the task."""
    awaits: Counter[str] = Counter()

    def on_await(name: str, waited_for: Any) -> None:
        number, awaits[name] = awaits[name], awaits[name] + 1
        if cancellation is None or name != cancellation.task or main.done():
            return
        if cancellation.moment is Moment.REPEATED and number >= cancellation.number:
            asyncio.get_running_loop().call_soon(main.cancel)
        elif number == cancellation.number:
            if cancellation.moment is Moment.DONE and waited_for is not None:
                # Called before the task's own wake-up, which is added after this.
                waited_for.add_done_callback(lambda _: main.cancel())
            else:
                asyncio.get_running_loop().call_soon(main.cancel)

    def new_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(observed(work, lambda each: on_await(task.get_name(), each)), loop=loop)
        return task

    async def observed(work: Coroutine[Any, Any, Any], on_await: Callable[[Any], None]) -> Any:
        # A task of Python 3.12 and newer takes no coroutine that is a generator.
        return await _observed(work, on_await)

    async def run() -> None:
        nonlocal main
        main = asyncio.create_task(program(), name=MAIN)
        await asyncio.wait([main])
        if not main.cancelled():
            main.result()

    main: asyncio.Task[None]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.get_loop().set_task_factory(new_task)
        runner.run(run())
    return awaits


@types.coroutine
def _observed(work: Coroutine[Any, Any, Any], on_await: Callable[[Any], None]) -> Generator[Any, Any, Any]:
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waited_for = work.throw(error) if error else work.send(value)
        except StopIteration as stop:
            return stop.value
        on_await(waited_for)
        value = error = None
        try:
            value = yield waited_for
        except BaseException as thrown:  # noqa: BLE001 - handed on to the coroutine
            error = thrown
