import asyncio
import sys
from uuid import UUID, uuid4

import pytest

from kubernaut.audit import spool_file
from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolFull, SpoolLocked, StoreClosed
from kubernaut.audit.spool import open_spool
from kubernaut.audit.spool_file import EncodedEvent
from kubernaut.audit.spool_record import OVERHEAD
from kubernaut.audit.spool_survey import segment_path
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


async def test_event_that_only_has_to_be_there_is_not_taken_beside_another_one_that_waits(config):
    event_id = uuid4()
    again = an_entry(2, event_id)._replace(if_absent=True)
    async with open_spool(config) as spool:
        spool.append([an_entry(1, event_id)])
        spool.append([again, again, an_entry(3)._replace(if_absent=True)])
        await spool.committed()

        assert await bodies(spool) == [an_entry(1).body, an_entry(3).body]
        assert spool.quarantined == 0


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
            spool.ack(batch)
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


async def test_files_of_something_else_are_left_alone(config):
    config.directory.mkdir()
    others = {"spool.sqlite3": b"theirs" * 1000, "events-x.log": b"not ours", "notes": b"theirs too"}
    for name, content in others.items():
        (config.directory / name).write_bytes(content)

    async with open_spool(config) as spool:
        spool.append([an_entry()])

    assert {name: (config.directory / name).read_bytes() for name in others} == others


async def test_a_file_that_is_no_spool_is_moved_aside_and_kept(config):
    config.directory.mkdir()
    path = segment_path(config.directory, 1)
    path.write_bytes(b"not a spool at all" * 100)

    async with open_spool(config) as spool:
        spool.append([an_entry(1)])
        await spool.committed()
        assert await bodies(spool) == [an_entry(1).body]

    (kept,) = config.directory.glob("damaged-*")
    assert kept.read_bytes() == b"not a spool at all" * 100


async def test_a_write_that_was_cut_off_is_no_damage(config):
    async with open_spool(config) as spool:
        spool.append([an_entry(number) for number in range(10)])
        await spool.committed()
    path = segment_path(config.directory, 1)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])

    async with open_spool(config) as spool:
        assert (spool.waiting, spool.unreadable) == (10, 0)
        spool.append([an_entry(10)])
        await spool.committed()
        assert await bodies(spool) == [an_entry(number).body for number in range(11)]
    assert not list(config.directory.glob("damaged-*"))


async def test_what_is_delivered_leaves_no_file_behind(config):
    async with open_spool(config) as spool:
        spool.append([an_entry(number) for number in range(10)])
        await spool.committed()
        spool.ack(await spool.head(10, 10_000))
        await spool.synced()

    assert not list(config.directory.glob("events-*"))
    async with open_spool(config) as spool:
        assert (spool.waiting, spool.unreadable, spool.last) == (0, 0, 10)


async def test_events_spread_over_many_segments_keep_their_order(config, monkeypatch):
    monkeypatch.setattr(spool_file, "MAX_SEGMENT_BYTES", 500)
    monkeypatch.setattr(spool_file, "MIN_RECLAIM_BYTES", 200)
    seen = []
    async with open_spool(config) as spool:
        for number in range(100):
            spool.append([an_entry(number)])
            await spool.committed()
        assert len(list(config.directory.glob("events-*"))) > 5
        while batch := await spool.head(7, 10_000):
            seen += [event.body for event in batch]
            spool.ack(batch)
            await spool.synced()

    assert seen == [an_entry(number).body for number in range(100)]


async def test_damage_while_the_spool_is_open_costs_the_damaged_event_alone(config):
    entries = [an_entry(number) for number in range(10)]
    async with open_spool(config) as spool:
        spool.append(entries)
        await spool.committed()
        flip(segment_path(config.directory, 1), 4 * (OVERHEAD + len(entries[0].body)) + OVERHEAD)

        batch = await spool.head(100, 10_000)
        assert [event.body for event in batch] == [entry.body for entry in [*entries[:4], *entries[5:]]]
        assert (spool.waiting, spool.unreadable) == (9, 1)
        spool.ack(batch)
        assert (spool.waiting, spool.bytes) == (0, 0)


async def test_damage_is_counted_once(config):
    entries = [an_entry(number) for number in range(10)]
    async with open_spool(config) as spool:
        spool.append(entries)
    flip(segment_path(config.directory, 1), 4 * (OVERHEAD + len(entries[0].body)) + OVERHEAD)

    async with open_spool(config) as spool:
        assert (spool.waiting, spool.unreadable) == (9, 1)
    async with open_spool(config) as spool:
        assert (spool.waiting, spool.unreadable) == (9, 0)
        assert len(await spool.head(100, 10_000)) == 9


async def test_a_quarantined_event_that_is_derived_again_adds_nothing(config):
    entry = an_entry()
    for _ in range(3):
        async with open_spool(config) as spool:
            spool.append([entry])
            await spool.committed()
            for event in await spool.head(10, 10_000):
                spool.quarantine(event, "poison")
            assert (spool.waiting, spool.quarantined) == (0, 1)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
