"""Random bytes of a spool flipped or cut off, or files deleted: what arrives was recorded, and the rest is counted."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.spool import open_spool
from kubernaut.audit.spool_file import EncodedEvent
from kubernaut.audit.spool_survey import survey

COUNT = 60
BODIES = [b'{"number":%d,"text":"%s"}' % (number, b"x" * (number * 7 % 90)) for number in range(COUNT)]
FILES = ("events-00000000000000000001.log", "events-00000000000000000021.log", "state")

flips = st.tuples(st.just("flip"), st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
cuts = st.tuples(st.just("cut"), st.sampled_from(FILES), st.floats(0, 1), st.just(0))
zeros = st.tuples(st.just("zero"), st.sampled_from(FILES), st.floats(0, 1), st.integers(1, 600))
deletions = st.tuples(st.just("delete"), st.sampled_from(FILES), st.just(0.0), st.just(0))


async def record(directory: Path) -> None:
    """A spool of two segments, of which nothing was delivered."""
    for start in (0, 20):
        async with open_spool(SpoolConfig(directory=directory)) as spool:
            spool.append([EncodedEvent(UUID(int=n + 1).bytes, BODIES[n]) for n in range(start, 3 * start or 20)])
            await spool.committed()
            spool._file._is_failing = True  # the next write begins a segment
            spool.append([EncodedEvent(UUID(int=21).bytes, BODIES[20])] if not start else [])
            await spool.committed()


async def deliver(directory: Path) -> tuple[list[bytes], int]:
    """Open the spool, take everything out of it, and say what could not be read."""
    seen: list[bytes] = []
    async with open_spool(SpoolConfig(directory=directory)) as spool:
        while batch := await spool.head(7, 10_000):
            seen += [event.body for event in batch]
            spool.ack(batch)
        assert spool.waiting == 0
        return seen, spool.unreadable


def damage(path: Path, kind: str, share: float, value: int) -> None:
    if kind == "delete":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    at = int(share * len(data))
    if kind == "flip":
        data[at] ^= value
    elif kind == "cut":
        del data[at:]
    else:
        data[at : at + value] = bytes(len(data[at : at + value]))
    path.write_bytes(data)


@pytest.fixture(scope="module")
def spool_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "spool"
    asyncio.run(record(directory))
    return directory


@settings(max_examples=150, deadline=None)
@given(damages=st.lists(st.one_of(flips, cuts, zeros, deletions), min_size=1, max_size=6))
def test_damage_never_alters_doubles_or_hides_an_event(spool_directory, damages):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "spool"
        shutil.copytree(spool_directory, directory)
        for kind, file, share, value in damages:
            if (directory / file).exists() and (directory / file).stat().st_size:
                damage(directory / file, kind, share, value)
        found = survey(directory)

        seen, unreadable = asyncio.run(deliver(directory))

        assert seen == [body for body in BODIES if body in set(seen)]  # recorded, once, in order
        assert found.waiting == len(seen)
        # Both copies of the state would have to go for a cut tail to be overlooked.
        if found.state is not None:
            assert len(seen) + unreadable == COUNT
        assert asyncio.run(deliver(directory)) == ([], 0)
