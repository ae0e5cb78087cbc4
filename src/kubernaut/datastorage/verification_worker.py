"""The process that verifies ranges of a ledger for another one, over its standard input and output.

A line is a JSON document: first the setup, then a range, for each of which a response goes back. The process ends with
its input.
"""

import asyncio
import os
import signal
import sys
from typing import BinaryIO

import msgspec

from kubernaut.datastorage.errors import DataStorageError, Reason
from kubernaut.datastorage.range_verification import Access, Range, RangeVerifier, connect, open_snapshot
from kubernaut.datastorage.tree_verification import RangeResult


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the database, and which state of it to see."""

    access: Access
    snapshot: str


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found, or why the database could not be read."""

    result: RangeResult | None = None
    error: str = ""
    reason: Reason = Reason.ERROR


async def run(lines: BinaryIO, output: int) -> None:
    """Answer until the input ends, or the database does not answer."""
    try:
        setup = msgspec.json.decode(lines.readline(), type=Setup)
        connection = await connect(setup.access)
        try:
            async with open_snapshot(connection, setup.snapshot):
                verifier = RangeVerifier(connection)
                # Nothing else runs here, so reading may block.
                while line := lines.readline():
                    result = await verifier.verify(msgspec.json.decode(line, type=Range))
                    _write(output, Response(result=result))
        finally:
            connection.terminate()
    except DataStorageError as error:
        _write(output, Response(error=str(error), reason=error.reason or Reason.ERROR))


def _write(descriptor: int, response: Response) -> None:
    rest = memoryview(msgspec.json.encode(response) + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends the input
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # logs must not mix with responses
    asyncio.run(run(sys.stdin.buffer, output))


if __name__ == "__main__":
    main()
