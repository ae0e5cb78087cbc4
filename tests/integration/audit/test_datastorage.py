"""The audit store against the real DataStorage: what is recorded stands in the ledger, once, in order, verified."""

import asyncio
import os
import re
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from kubernaut.audit import (
    AuditConfig,
    ClientConfig,
    RetryConfig,
    SpoolConfig,
    StoreError,
    StoreRejected,
    StoreUnreachable,
    open_audit,
    open_client,
)
from kubernaut.datastorage.config import DatabaseConfig, DataStorageConfig, ServerConfig
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.service import open_service
from support.audit import an_event, number_of


@pytest.fixture
async def url(postgres, postgres_database):
    await migrate(postgres_database)
    config = DataStorageConfig(
        server=ServerConfig(port=0, endpoint_propagation_delay=0, shutdown_timeout=2),
        database=DatabaseConfig.from_url(postgres_database),
    )
    async with open_service(config) as server:
        yield server.url


def a_config(directory: Path, url: str) -> AuditConfig:
    return AuditConfig(
        spool=SpoolConfig(directory=directory),
        client=ClientConfig(url=url, timeout=10),
        retry=RetryConfig(initial_delay=0.02, max_delay=0.1),
    )


async def test_recorded_events_stand_in_the_ledger_once_and_in_order(tmp_path, url):
    events = [an_event(number, correlation=f"rr-{number % 3}") for number in range(900)]
    async with (
        open_audit(a_config(tmp_path / "one", url), "test") as store,
        open_client(ClientConfig(url=url)) as client,
    ):
        for start in range(0, 900, 30):
            store.record(events[start : start + 30])
            await asyncio.sleep(0)
        assert (await store.flush(20)).delivered == 900
        # A process that starts again derives its events again; they are the same to the byte.
        store.record(events[:100])
        assert (await store.flush(20)).is_complete

        timeline = await client.timeline("rr-1")
        whole = await client.verify()
        one = await client.verify("rr-1")
        page = await client.query({"correlation_id": "rr-2", "limit": 10})

    assert store.quarantined == 0
    assert [number_of(event) for event in timeline.events] == list(range(1, 900, 3))
    assert (whole.is_valid, whole.total_events) == (True, 900)
    assert (one.is_valid, one.total_events) == (True, 300)
    assert (len(page.data), page.pagination.total) == (10, 300)


async def test_events_that_the_ledger_refuses_are_set_aside_with_its_words(tmp_path, url):
    first = an_event(1)
    async with open_audit(a_config(tmp_path / "one", url), "test") as store:
        store.record([first])
        await store.flush(10)
        changed = an_event(2, event_id=first.event_id)
        store.record([an_event(3), changed, an_event(4, data=b"[1, 2]"), an_event(5)])

        flushed = await store.flush(20)
        reasons = [event.reason for event in await store._spool.quarantined_events()]

    assert (flushed.delivered, flushed.quarantined, flushed.waiting) == (2, 2, 0)
    assert "409" in reasons[0]
    assert "event_data" in reasons[1]


async def test_the_example_of_the_documentation_records_an_event(tmp_path, url):
    page = (Path(__file__).parents[3] / "docs" / "howto-audit-client.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    environment = {**os.environ, "SPOOL": str(tmp_path / "spool"), "DATASTORAGE_URL": url}

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await asyncio.wait_for(process.communicate(), 50)

    assert process.returncode == 0, errors.decode()
    assert "FlushResult(delivered=1, waiting=0, quarantined=0, reason='')" in out.decode()
    async with open_client(ClientConfig(url=url)) as client:
        assert [event.event_type for event in (await client.timeline("invoice-4711")).events] == [
            "workflow.execution.started"
        ]


async def test_the_client_says_what_the_store_says(url):
    async with open_client(ClientConfig(url=url)) as client:
        await client.send([an_event(1)])
        with pytest.raises(StoreRejected, match="returned status 400: Bad Request: "):
            await client.send([])
        with pytest.raises(StoreRejected, match="limit"):
            await client.query({"limit": 100_000})
        assert (await client.timeline("no such correlation? 100%")).events == []

    async with open_client(ClientConfig(url=f"{url}/elsewhere")) as lost:
        with pytest.raises(StoreError) as caught:
            await lost.verify()
        assert caught.value.status == 404
    async with open_client(ClientConfig(url="http://127.0.0.1:9", timeout=1)) as alone:
        with pytest.raises(StoreUnreachable, match=r"network error: POST http://127.0.0.1:9/api/v1/audit"):
            await alone.send([an_event(event_id=uuid4())])
