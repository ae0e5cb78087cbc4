"""The service verifies by itself: what is new, everything once in a while, and tells the result."""

from dataclasses import replace

import asyncpg
import httpx2
from prometheus_client import CollectorRegistry

from kubernaut.datastorage.config import DatabaseConfig, VerificationConfig
from kubernaut.datastorage.ledger_verification import LedgerVerification
from kubernaut.datastorage.scheduled_verification import ScheduledVerification, VerificationMetrics
from kubernaut.datastorage.service import open_service
from kubernaut.datastorage.store import Store
from support.datastorage import config_for
from support.eventually import eventually
from support.ledger_events import an_entry

NAME = "kubernaut_datastorage_verification"


class Scheduled:
    """The schedule of one process, without its clock."""

    def __init__(self, store: Store, **config: float) -> None:
        self.registry = CollectorRegistry()
        metrics = VerificationMetrics(self.registry)
        self.verification = ScheduledVerification(store.read.verify, VerificationConfig(**config), metrics)  # type: ignore[arg-type]

    def value(self, name: str, kind: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"{NAME}_{name}", {"kind": kind} | labels)


async def filled(store: Store, count: int) -> None:
    await store.append([an_entry() for _ in range(count)])


async def edit(sql: asyncpg.Connection, sequence: int) -> None:
    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_events'")
        await sql.execute(
            "UPDATE audit_events SET severity = 'low' "
            "WHERE event_id = (SELECT event_id FROM audit_ledger WHERE sequence = $1)",
            sequence,
        )


async def test_first_verification_is_full_and_later_ones_read_what_is_new(store: Store):
    await filled(store, 300)
    scheduled = Scheduled(store)

    assert await scheduled.verification.verify()
    await filled(store, 10)
    assert await scheduled.verification.verify()

    assert scheduled.value("rows", "full") == 300
    assert scheduled.value("rows", "incremental") == 54
    assert scheduled.value("runs_total", "incremental", result="verified") == 1
    assert scheduled.value("valid", "incremental") == 1


async def test_edit_of_an_old_row_is_found_when_a_full_one_is_due(store: Store, sql: asyncpg.Connection):
    await filled(store, 300)
    rare, frequent = Scheduled(store), Scheduled(store, full_interval=0)
    for scheduled in (rare, frequent):
        await scheduled.verification.verify()
    await edit(sql, 7)

    for scheduled in (rare, frequent):
        assert await scheduled.verification.verify()

    assert rare.value("runs_total", "incremental", result="verified") == 1
    assert frequent.value("runs_total", "full", result="findings") == 1
    assert (frequent.value("valid", "full"), frequent.value("findings", "full")) == (0, 1)


async def test_what_is_wrong_is_found_again_each_time(store: Store, sql: asyncpg.Connection):
    await filled(store, 300)
    scheduled = Scheduled(store)
    await scheduled.verification.verify()
    await filled(store, 10)
    await edit(sql, 305)

    for _ in range(2):
        await scheduled.verification.verify()

    assert scheduled.value("runs_total", "incremental", result="findings") == 2


async def test_without_the_database_it_is_a_failure_and_no_finding():
    nowhere = DatabaseConfig(host="127.0.0.1", port=1, connect_timeout=1)
    registry = CollectorRegistry()
    scheduled = ScheduledVerification(
        LedgerVerification(nowhere).verify, VerificationConfig(), VerificationMetrics(registry)
    )

    assert not await scheduled.verify()

    labels = {"kind": "full", "result": "failure"}
    assert registry.get_sample_value(f"{NAME}_runs_total", labels) == 1
    assert registry.get_sample_value(f"{NAME}_valid", {"kind": "full"}) is None


async def test_service_serves_the_result_and_stays_ready(database: str, store: Store, sql: asyncpg.Connection):
    await filled(store, 3)
    await edit(sql, 2)
    config = config_for(database)
    config = replace(config, verification=VerificationConfig(interval=0.1))
    async with open_service(config) as server, httpx2.AsyncClient(base_url=server.url, timeout=10) as http:

        async def is_counted() -> bool:
            return f'{NAME}_findings{{kind="full"}} 1.0' in (await http.get("/metrics")).text

        await eventually(is_counted)

        assert (await http.get("/readyz")).status_code == 200
