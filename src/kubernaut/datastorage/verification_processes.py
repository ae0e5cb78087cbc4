"""Ranges of a ledger verified by several processes, all of which see one state of the database."""

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from kubernaut.datastorage.errors import DatabaseUnavailable
from kubernaut.datastorage.range_verification import Access, Range
from kubernaut.datastorage.tree_verification import RangeResult
from kubernaut.datastorage.verification_worker import Response, Setup

MAX_LINE = 2**26
"""Bytes of one response; a range in which a checkpoint was signed after every row has 6 MB."""

_decode = msgspec.json.Decoder(Response).decode


def default_count() -> int:
    """As many processes as there are processors for us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class VerificationProcesses:
    """Processes that verify one range at a time each; see `open_processes`."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._idle: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
        for process in processes:
            self._idle.put_nowait(process)
        self._count = len(processes)

    async def verify(self, ranges: Iterable[Range]) -> AsyncIterator[RangeResult]:
        """The results in the order of the ranges, of which few are under way at a time.

        Raises DatabaseUnavailable.
        """
        waiting: Iterator[Range] = iter(ranges)
        running: deque[asyncio.Task[RangeResult]] = deque()
        try:
            while True:
                # One more than there are processes, so that none waits for the slowest.
                while len(running) <= self._count and (next_range := next(waiting, None)):
                    running.append(asyncio.create_task(self._verify(next_range), name="range-verification"))
                if not running:
                    return
                yield await running[0]
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _verify(self, wanted: Range) -> RangeResult:
        process = await self._idle.get()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("unreachable: both are pipes")
        try:
            process.stdin.write(msgspec.json.encode(wanted) + b"\n")
            line = await process.stdout.readline()
        except (ConnectionError, ValueError) as error:
            raise DatabaseUnavailable(f"a verification process failed: {error}") from error
        if not line:
            raise DatabaseUnavailable("a verification process ended early")
        response = _decode(line)
        if response.result is None:
            raise DatabaseUnavailable(response.error, response.reason)
        self._idle.put_nowait(process)
        return response.result


@asynccontextmanager
async def open_processes(count: int, access: Access, snapshot: str) -> AsyncIterator[VerificationProcesses]:
    """Processes for as long as the block runs; afterwards they are gone, whatever they were doing."""
    setup = msgspec.json.encode(Setup(access=access, snapshot=snapshot)) + b"\n"
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_open_process(setup)) for _ in range(count)]
        yield VerificationProcesses(processes)


@asynccontextmanager
async def _open_process(setup: bytes) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kubernaut.datastorage.verification_worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE,
    )
    try:
        if process.stdin is not None:
            process.stdin.write(setup)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
