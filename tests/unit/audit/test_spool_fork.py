"""A forked child must neither use nor harm the spool of its parent."""

import os
import warnings

import pytest

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolLocked, StoreClosed
from kubernaut.audit.spool import locked, open_spool
from kubernaut.audit.spool_file import EncodedEvent


def in_child(action) -> bytes:
    """What `action` returns in a forked child, or the name of its error."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads is what is tested
        pid = os.fork()
    if pid == 0:
        try:
            answer = action()
        except Exception as error:  # noqa: BLE001 - nothing may unwind into the test runner of the parent
            answer = type(error).__name__.encode()
        os.write(writer, answer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


async def test_a_child_cannot_append_and_the_parent_goes_on(tmp_path):
    async with open_spool(SpoolConfig(directory=tmp_path)) as spool:
        spool.append([EncodedEvent(b"1" * 16, b"1")])

        assert in_child(lambda: b"%d" % spool.append([EncodedEvent(b"2" * 16, b"2")])) == StoreClosed.__name__.encode()
        spool.append([EncodedEvent(b"3" * 16, b"3")])
        await spool.committed()
        assert [event.body for event in await spool.head(9, 999)] == [b"1", b"3"]


async def test_the_parent_keeps_its_lock_when_a_child_ends(tmp_path):
    def lock_again() -> bytes:
        with locked(tmp_path):
            return b"locked"

    async with open_spool(SpoolConfig(directory=tmp_path)):
        assert in_child(lock_again) == SpoolLocked.__name__.encode()
        with pytest.raises(SpoolLocked, match=f"running process {os.getpid()}"), locked(tmp_path):
            pass


async def test_a_child_that_lives_on_does_not_hold_the_lock(tmp_path):
    reader, writer = os.pipe()
    async with open_spool(SpoolConfig(directory=tmp_path)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent closes its end
            os._exit(0)
    try:
        async with open_spool(SpoolConfig(directory=tmp_path)) as spool:
            assert spool.waiting == 0
    finally:
        os.close(writer)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
        os.close(reader)
