"""What `committed()` acknowledged survives `kill -9` at any point, and is delivered once, in order."""

import asyncio
import contextlib
import random
import sys
from pathlib import Path

import pytest

from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, open_audit
from support.audit import an_event, open_fake_datastorage


def a_config(directory: Path, url: str) -> AuditConfig:
    return AuditConfig(
        spool=SpoolConfig(directory=directory),
        client=ClientConfig(url=url, timeout=5),
        retry=RetryConfig(initial_delay=0.01, max_delay=0.05),
        batch_size=20,
        flush_interval=0.001,
    )


async def recorder(directory: Path, url: str, first: int) -> None:
    """Record for ever, three events at a time, and print the number of each last one that is on disk."""
    async with open_audit(a_config(directory, url), "test") as store:
        number = first
        while True:
            store.record([an_event(number + i) for i in range(3)])
            number += 3
            await store.committed()
            print(number, flush=True)


@pytest.mark.parametrize("is_up", [True, False], ids=["store-up", "store-down"])
async def test_killed_recorders_lose_nothing_they_acknowledged(tmp_path, is_up):
    chance = random.Random(11)
    async with open_fake_datastorage() as server:
        url = server.url if is_up else "http://127.0.0.1:9"
        acknowledged: list[int] = []
        for life in range(3):
            first = 1_000_000 * life
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                __file__,
                str(tmp_path),
                url,
                str(first),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PYTHONPATH": str(Path(__file__).parents[2])},
            )
            last = first
            lines = chance.randrange(5, 60)
            while lines:
                line = await asyncio.wait_for(process.stdout.readline(), 20)
                if line.strip().isdigit():
                    last, lines = int(line), lines - 1
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                await process.communicate()
            acknowledged += range(first, last)

        async with open_audit(a_config(tmp_path, server.url), "test") as store:
            assert (await store.flush(20)).is_complete

    numbers = server.numbers
    assert set(acknowledged) <= set(numbers)
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


if __name__ == "__main__":
    asyncio.run(recorder(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
