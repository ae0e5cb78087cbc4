import asyncio
import sqlite3
import sys
from uuid import UUID, uuid4

import pytest

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolError, SpoolFull, SpoolLocked, StoreClosed
from kubernaut.audit.spool import open_spool
from kubernaut.audit.spool_file import OVERHEAD, EncodedEvent
from support.eventually import eventually


def an_entry(number: int = 0, event_id: UUID | None = None) -> EncodedEvent:
    return EncodedEvent((event_id or uuid4()).bytes, b'{"number":%d}' % number)


async def bodies(spool, most=1000, max_bytes=2**20):
    return [event.body for event in await spool.head(most, max_bytes)]


@pytest.fixture
def config(tmp_path):
    return SpoolConfig(directory=tmp_path / "spool")


async def test_what_was_committed_is_there_after_reopening_in_order(config):
    entries = [an_entry(number) for number in range(1200)]
    async with open_spool(config) as spool:
        for start in range(0, 1200, 7):
            spool.append(entries[start : start + 7])
        await spool.committed()

    async with open_spool(config) as spool:
        assert spool.waiting == 1200
        assert await bodies(spool, 2000) == [entry.body for entry in entries]


async def test_an_event_that_still_waits_is_not_taken_twice(config):
    entry = an_entry()
    async with open_spool(config) as spool:
        spool.append([entry, an_entry(1)])
        spool.append([entry])
        await spool.committed()

        await eventually(lambda: spool.waiting == 2)
        assert spool.bytes == sum(len(event.body) + OVERHEAD for event in await spool.head(9, 9999))
        assert spool.quarantined == 0


async def test_same_id_with_other_content_is_kept_as_evidence(config):
    event_id = uuid4()
    async with open_spool(config) as spool:
        spool.append([an_entry(1, event_id), an_entry(2, event_id)])
        await spool.committed()

        await eventually(lambda: spool.quarantined == 1)
        assert await bodies(spool) == [an_entry(1).body]
        (evidence,) = await spool.quarantined_events()
        assert evidence.body == an_entry(2).body
        assert "other content" in evidence.reason


async def test_a_full_spool_takes_none_of_a_batch_and_says_so(tmp_path):
    config = SpoolConfig(directory=tmp_path, max_bytes=1000)
    async with open_spool(config) as spool:
        spool.append([an_entry()])

        with pytest.raises(SpoolFull, match=r"is full: \d+ of 1000 bytes"):
            spool.append([an_entry() for _ in range(20)])
        assert spool.waiting == 1


async def test_forgotten_events_make_room_and_do_not_come_back(tmp_path):
    config = SpoolConfig(directory=tmp_path, max_bytes=1000)
    async with open_spool(config) as spool:
        for _ in range(50):
            spool.append([an_entry() for _ in range(10)])
            await spool.committed()
            batch = await spool.head(100, 10_000)
            spool.ack(batch[-1].seq, len(batch), sum(event.size for event in batch))
        spool.append([an_entry(7)])

    async with open_spool(config) as spool:
        assert await bodies(spool) == [an_entry(7).body]


async def test_head_keeps_to_bytes_but_gives_one_event_however_large(config):
    async with open_spool(config) as spool:
        spool.append([an_entry(number) for number in range(10)])
        await spool.committed()
        size = len(an_entry().body) + OVERHEAD

        assert len(await spool.head(100, 3 * size)) == 3
        assert len(await spool.head(100, 1)) == 1


async def test_quarantine_keeps_the_event_and_the_reason(config):
    async with open_spool(config) as spool:
        spool.append([an_entry(1), an_entry(2)])
        await spool.committed()
        first, _ = await spool.head(10, 10_000)
        spool.quarantine(first, "no such parent")

    async with open_spool(config) as spool:
        assert await bodies(spool) == [an_entry(2).body]
        (kept,) = await spool.quarantined_events()
        assert (kept.body, kept.reason) == (an_entry(1).body, "no such parent")
        assert spool.bytes == 2 * (len(an_entry().body) + OVERHEAD)


async def test_two_processes_never_share_a_spool(config):
    async with open_spool(config):
        other = (
            "import asyncio, sys, pathlib\n"
            "from kubernaut.audit.config import SpoolConfig\n"
            "from kubernaut.audit.spool import open_spool\n"
            "async def main():\n"
            "    async with open_spool(SpoolConfig(directory=pathlib.Path(sys.argv[1]))): pass\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", other, str(config.directory), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(process.communicate(), 30)

        assert process.returncode == 1
        assert b"SpoolLocked" in errors

    with pytest.raises(SpoolLocked, match="running process"):
        async with open_spool(config), open_spool(config):
            pass


async def test_appending_after_close_raises(config):
    async with open_spool(config) as spool:
        pass

    with pytest.raises(StoreClosed):
        spool.append([an_entry()])


async def test_a_disk_that_refuses_is_told_and_forgiven(config):
    async with open_spool(config) as spool:
        spool.append([an_entry(1)])
        await spool.committed()
        spool._file._writer.execute("PRAGMA max_page_count = 1")  # what a full disk looks like to SQLite
        big = EncodedEvent(uuid4().bytes, b'"' + b"x" * 100_000 + b'"')
        spool.append([big])
        with pytest.raises(SpoolFull, match="full"):
            await spool.committed()
        with pytest.raises(SpoolFull, match="cannot be written"):
            spool.append([an_entry(2)])

        spool._file._writer.execute("PRAGMA max_page_count = 1000000")
        await eventually(lambda: not spool.disk_error)
        await spool.committed()

        assert await bodies(spool) == [an_entry(1).body, big.body]


async def test_a_disk_that_refuses_until_the_end_is_no_quiet_loss(config):
    with pytest.raises(SpoolError, match="1 audit events were lost"):
        async with open_spool(config) as spool:
            spool._file._writer.execute("PRAGMA max_page_count = 1")
            spool.append([EncodedEvent(uuid4().bytes, b'"' + b"x" * 100_000 + b'"')])


async def test_a_database_of_something_else_is_left_alone(config):
    config.directory.mkdir()
    path = config.directory / "spool.sqlite3"
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()

    with pytest.raises(SpoolError, match="another application"):
        async with open_spool(config):
            pass


async def test_a_damaged_file_is_named(config):
    config.directory.mkdir()
    (config.directory / "spool.sqlite3").write_bytes(b"not a database at all" * 100)

    with pytest.raises(SpoolError, match=r"spool\.sqlite3 cannot be used"):
        async with open_spool(config):
            pass
