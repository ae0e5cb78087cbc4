"""A spool whose files somebody removes or moves while the service runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import Response

from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, open_audit
from support.audit import an_event, open_fake_datastorage


def files(spool: Path) -> list[Path]:
    return [path for path in spool.iterdir() if path.is_file()]


def remove_segments(spool: Path) -> None:
    for path in spool.glob("*.log"):
        path.unlink()


def remove_files(spool: Path) -> None:
    for path in files(spool):
        path.unlink()


def replace_segments(spool: Path) -> None:
    """As an editor does, or who restores a backup."""
    for path in spool.glob("*.log"):
        path.unlink()
        path.write_bytes(b"another file")


HARM: dict[str, Callable[[Path], object]] = {
    "directory removed": shutil.rmtree,
    "directory renamed": lambda spool: spool.rename(spool.with_name("moved")),
    "segments removed": remove_segments,
    "segments replaced": replace_segments,
    "all files removed": remove_files,
}


def config_for(url: str, spool: Path) -> AuditConfig:
    return AuditConfig(
        spool=SpoolConfig(directory=spool),
        client=ClientConfig(url=url, timeout=5),
        retry=RetryConfig(initial_delay=0.01, max_delay=0.05),
        flush_interval=0.01,
        drain_timeout=0.05,
    )


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
@pytest.mark.parametrize("is_restarted", [False, True], ids=["same process", "next process"])
async def test_what_was_committed_before_and_after_is_delivered(
    tmp_path: Path, harm: Callable[[Path], object], is_restarted: bool
):
    spool = tmp_path / "spool"
    async with open_fake_datastorage() as server:
        server.respond = lambda events, body: Response(status_code=503)
        async with open_audit(config_for(server.url, spool), "test") as store:
            store.record([an_event(0), an_event(1)])
            await store.committed()
            harm(spool)
            store.record([an_event(2)])
            await store.committed()
            if not is_restarted:
                server.respond = lambda events, body: None
                assert (await store.flush(10)).is_complete
        server.respond = lambda events, body: None
        async with open_audit(config_for(server.url, spool), "test") as store:
            assert (await store.flush(10)).is_complete

        assert server.numbers == [0, 1, 2]
