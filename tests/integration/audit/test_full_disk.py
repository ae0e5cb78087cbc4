"""A disk that is really full: a small tmpfs under the spool. Needs the permission to mount one."""

import subprocess
from contextlib import contextmanager, suppress

import pytest

from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, SpoolFull, open_audit
from support.audit import an_event, number_of, open_fake_datastorage, problem_response
from support.eventually import eventually


@pytest.fixture
def small_disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    with mounted(path):
        yield path


@contextmanager
def mounted(path):
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(path)]
    try:
        mount = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except OSError as error:
        pytest.skip(f"mount cannot be run: {error}")
    if mount.returncode:
        pytest.skip(f"no permission to mount a tmpfs: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True, timeout=10)


def a_config(path, url):
    return AuditConfig(
        spool=SpoolConfig(directory=path / "spool"),
        client=ClientConfig(url=url, timeout=5),
        retry=RetryConfig(initial_delay=0.01, max_delay=0.05),
        flush_interval=0.01,
        drain_timeout=0,
    )


async def fill(store, first):
    """Record until the disk takes nothing; the numbers that were acknowledged."""
    acknowledged, number = [], first
    while True:
        numbers = range(number, number + 20)
        number += 20
        try:
            store.record([an_event(n, data={"number": n, "text": "x" * 2000}) for n in numbers])
            await store.committed()
        except SpoolFull:
            return acknowledged, number
        acknowledged += numbers


async def test_a_full_disk_heals_when_the_store_takes_what_waits(small_disk):
    async with open_fake_datastorage() as server:
        server.respond = lambda events, body: problem_response(503)
        async with open_audit(a_config(small_disk, server.url), "test") as store:
            for _ in range(3):
                acknowledged, number = await fill(store, len(server.numbers))
                assert len(acknowledged) > 500
                server.respond = lambda events, body: None
                await eventually(lambda: store.waiting == 0, timeout=20)

                # What was recorded while the disk was full is written too.
                assert server.numbers == list(range(number))
                store.record([an_event(number)])
                await store.committed()
                await eventually(lambda: store.waiting == 0)
                server.respond = lambda events, body: problem_response(503)


async def test_a_full_disk_heals_after_a_restart(small_disk):
    async with open_fake_datastorage() as server:
        acknowledged = []
        with pytest.raises(Exception, match=r"\d+ audit events were lost"):
            async with open_audit(a_config(small_disk, "http://127.0.0.1:9"), "test") as store:
                acknowledged, _ = await fill(store, 0)

        async with open_audit(a_config(small_disk, server.url), "test") as store:
            assert store.waiting >= len(acknowledged)
            assert (await store.flush(20)).is_complete
            store.record([an_event(10**6)])
            assert (await store.flush(20)).is_complete

        assert set(acknowledged) <= set(server.numbers)
        assert server.numbers == sorted(set(server.numbers))


async def test_what_is_delivered_gives_its_room_when_others_fill_the_disk(small_disk):
    async with open_fake_datastorage() as server, open_audit(a_config(small_disk, server.url), "test") as store:
        store.record([an_event(n, data={"number": n, "text": "x" * 2000}) for n in range(300)])
        assert (await store.flush(10)).is_complete
        with suppress(OSError), (small_disk / "theirs").open("wb", buffering=0) as theirs:
            while True:
                theirs.write(bytes(4096))

        store.record([an_event(n, data={"number": n, "text": "x" * 2000}) for n in range(300, 320)])
        await eventually(lambda: len(server.numbers) == 320)


async def test_a_rejected_event_finds_room_in_the_quarantine_of_a_full_disk(small_disk):
    async with open_fake_datastorage() as server:
        server.respond = lambda events, body: problem_response(503)
        async with open_audit(a_config(small_disk, server.url), "test") as store:
            acknowledged, _ = await fill(store, 0)
            server.respond = lambda events, body: next(
                (problem_response(400, index=i) for i, event in enumerate(events) if number_of(event) in (0, 7)), None
            )
            await eventually(lambda: store.waiting == 0, timeout=20)
            kept = await store._spool.quarantined_events()

        assert len(kept) == 2
        assert set(acknowledged) - {0, 7} <= set(server.numbers)
