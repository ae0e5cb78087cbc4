"""How a history is run: what goes wrong is a problem of its outcome, and nothing of it is left behind."""

import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from faults import disks
from faults.stack import keep_logs
from support.processes import mentioning

S = TypeVar("S")


class Outcome(Protocol):
    """What became of a history."""

    problems: list[str]
    took: float
    kept: Path | None

    def explained(self) -> str:
        """The verdict, the history as a list, what was found, and how to repeat it."""


async def observe(
    outcome: Outcome,
    opening: AbstractAsyncContextManager[S],
    run: Callable[[S], Awaitable[None]],
    path: Path,
    kept: Path,
) -> None:
    """Run a history on the stack below `path`, which is gone afterwards; `kept` gets the logs of one that failed."""
    started = time.monotonic()
    try:
        async with opening as stack:
            try:
                await run(stack)
            except Exception as error:  # noqa: BLE001 - whatever it is, the history failed
                outcome.problems.append(f"{type(error).__name__}: {error}")
            if outcome.problems:
                keep_logs(path, kept)
    except BaseExceptionGroup as group:
        outcome.problems.append(f"a process could not be run: {group.exceptions[0]}")
        keep_logs(path, kept)
    outcome.problems += [f"a process is left: {process}" for process in mentioning(str(path))]
    outcome.problems += [f"a disk is still mounted: {place}" for place in disks.mounts_below(path)]
    if path.exists():
        shutil.rmtree(path)
    outcome.took = time.monotonic() - started
    if outcome.problems:
        outcome.kept = kept
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "history").write_text(outcome.explained() + "\n")
