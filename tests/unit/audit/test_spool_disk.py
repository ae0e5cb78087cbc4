"""A disk that takes nothing, as any user can have it: a limit on the size of files, in a process of its own."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolFull
from kubernaut.audit.spool import open_spool
from kubernaut.audit.spool_file import EncodedEvent
from support.eventually import eventually

BIG = EncodedEvent(uuid4().bytes, b'"' + b"x" * 100_000 + b'"')


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


async def is_told_and_forgiven(directory: Path) -> None:
    small = [EncodedEvent(uuid4().bytes, b"%d" % number) for number in range(2)]
    async with open_spool(SpoolConfig(directory=directory)) as spool:
        spool.append(small[:1])
        await spool.committed()
        limit_files(10_000)
        spool.append([BIG])
        with pytest.raises(SpoolFull, match="File too large"):
            await spool.committed()
        with pytest.raises(SpoolFull, match="cannot be written"):
            spool.append(small[1:])

        limit_files(resource.RLIM_INFINITY)
        await eventually(lambda: not spool.disk_error)
        await spool.committed()
        spool.append(small[1:])
        await spool.committed()

        found = [event.body for event in await spool.head(10, 10**6)]
        assert found == [small[0].body, BIG.body, small[1].body]
        assert spool.unreadable == 0


async def is_no_quiet_loss(directory: Path) -> None:
    with pytest.raises(Exception, match="1 audit events were lost"):
        async with open_spool(SpoolConfig(directory=directory)) as spool:
            limit_files(10_000)
            spool.append([BIG])
    limit_files(resource.RLIM_INFINITY)
    async with open_spool(SpoolConfig(directory=directory)) as spool:
        assert (spool.waiting, spool.unreadable) == (0, 0)


@pytest.mark.parametrize("scenario", ["is_told_and_forgiven", "is_no_quiet_loss"])
def test_a_disk_that_refuses(tmp_path, scenario):
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-P", __file__, scenario, str(tmp_path / "spool")]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    scenarios = {"is_told_and_forgiven": is_told_and_forgiven, "is_no_quiet_loss": is_no_quiet_loss}
    asyncio.run(scenarios[sys.argv[1]](Path(sys.argv[2])))
