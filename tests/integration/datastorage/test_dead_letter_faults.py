"""Two replicas with one queue, while they, PostgreSQL and Valkey are killed: nothing is lost or doubled, in order."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import valkey.asyncio

from kubernaut.datastorage.dead_letter.stream import DEAD_LETTERS, QUEUE
from kubernaut.datastorage.migrate import migrate
from support.datastorage import BATCH, JSON, VERIFY, ledger_of, open_process
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event
from support.restartable import Restartable, restartable_postgres, restartable_valkey


class Writer:
    """One correlation: sends one batch after the other to any replica, each until it is acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.is_stopping = False

    async def write(self, urls: list[str], *, batches: int = 10**6, size: int = 5) -> None:
        async with httpx2.AsyncClient(timeout=10) as client:
            for number in range(batches):
                events = [a_wire_event(correlation_id=self.name) for _ in range(size)]
                if not await self._until_acknowledged(client, urls, number, events):
                    return
                self.acknowledged += [event["event_id"] for event in events]

    async def _until_acknowledged(
        self, client: httpx2.AsyncClient, urls: list[str], turn: int, events: list[dict[str, Any]]
    ) -> bool:
        while not self.is_stopping:
            turn += 1
            try:
                answer = await client.post(urls[turn % len(urls)] + BATCH, content=a_body(*events), headers=JSON)
            except httpx2.TransportError:
                await asyncio.sleep(0.02)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code in (201, 202):
                return True
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.02)
        return False


@asynccontextmanager
async def writing(writers: list[Writer], urls: list[str]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(writer.write(urls))
        try:
            yield
        finally:
            for writer in writers:
                writer.is_stopping = True


def sent(writers: list[Writer], status: int) -> int:
    return sum(writer.statuses[status] for writer in writers)


async def more(writers: list[Writer], status: int, count: int) -> None:
    before = sent(writers, status)
    await eventually(lambda: sent(writers, status) >= before + count, timeout=40, description=f"{count} more {status}")


class Replicas:
    """DataStorage twice, on one PostgreSQL and one Valkey of the test's own."""

    def __init__(self, postgres: Restartable, queue: Restartable, folder: Path) -> None:
        self.postgres = postgres
        self.queue = queue
        self.urls = ["", ""]
        self.database: str = postgres.server.url("postgres")
        self._folder = folder
        self._running: dict[int, AsyncExitStack] = {}
        self._starts = 0

    async def start(self, number: int) -> None:
        server = self.queue.server
        settings = {
            "host": server.host,
            "port": server.port,
            "password": server.password,
            "retryInterval": "50ms",
            "writeTimeout": "1s",
        }
        self._starts += 1
        stack = AsyncExitStack()
        opening = open_process(self.database, self._folder, f"ds-{self._starts}", queue=settings)
        service = await stack.enter_async_context(opening)
        self._running[number] = stack
        self.urls[number] = service.url

    async def kill(self, number: int) -> None:
        await self._running.pop(number).aclose()

    async def close(self) -> None:
        for number in list(self._running):
            await self.kill(number)


@asynccontextmanager
async def two_replicas(directory: Path, folder: Path) -> AsyncIterator[Replicas]:
    async with (
        restartable_postgres(directory / "postgres") as postgres,
        restartable_valkey(directory / "valkey") as queue,
    ):
        await migrate(postgres.server.url("postgres"))
        replicas = Replicas(postgres, queue, folder)
        try:
            for number in range(2):
                await replicas.start(number)
            yield replicas
        finally:
            await replicas.close()


async def assert_all_in_order(replicas: Replicas, writers: list[Writer]) -> None:
    client = valkey.asyncio.from_url(replicas.queue.server.url())

    async def is_empty() -> bool:
        return not await client.xlen(QUEUE)

    await eventually(is_empty, timeout=40, description="the queue is empty")
    assert await client.xlen(DEAD_LETTERS) == 0
    await client.aclose()
    sql = await asyncpg.connect(replicas.database)
    rows = await ledger_of(sql)
    await sql.close()
    assert len({row["event_id"] for row in rows}) == len(rows)
    order: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        order[row["correlation_id"]].append(str(row["event_id"]))
    for writer in writers:
        # Behind the acknowledged ones at most the batch whose answer got lost.
        assert order[writer.name][: len(writer.acknowledged)] == writer.acknowledged
        assert len(order[writer.name]) - len(writer.acknowledged) in (0, 5)
    async with httpx2.AsyncClient(base_url=replicas.urls[0], timeout=30) as http:
        verification = (await http.post(VERIFY)).json()
    assert verification["is_valid"], verification["findings"]


async def test_replicas_killed_while_they_drain(own_directory: Path, tmp_path: Path):
    writers = [Writer(f"w-{number}") for number in range(6)]
    backlog = [Writer(f"backlog-{number}") for number in range(4)]
    async with two_replicas(own_directory, tmp_path) as replicas:
        client = valkey.asyncio.from_url(replicas.queue.server.url())
        await replicas.postgres.kill()
        await asyncio.gather(*(writer.write(replicas.urls, batches=4, size=500) for writer in backlog))
        waiting = await client.xlen(QUEUE)
        async with writing(writers, replicas.urls):
            await replicas.postgres.start()

            async def is_draining() -> bool:
                return await client.xlen(QUEUE) < waiting

            await eventually(is_draining, timeout=40, interval=0.001)
            for number in range(2):
                await replicas.kill(number)
            left = await client.xlen(QUEUE)
            for number in range(2):
                await replicas.start(number)
            await more(writers, 201, 20)
        await client.aclose()

        await assert_all_in_order(replicas, writers + backlog)
    assert left > 0
    assert sum(len(writer.acknowledged) for writer in backlog) == 8000


async def test_outages_of_both_stores_under_load(own_directory: Path, tmp_path: Path):
    writers = [Writer(f"w-{number}") for number in range(6)]
    async with two_replicas(own_directory, tmp_path) as replicas:
        async with writing(writers, replicas.urls):
            await more(writers, 201, 20)
            await replicas.postgres.kill()
            await more(writers, 202, 20)
            await replicas.queue.kill()  # between two acknowledgements; its file has every one
            await more(writers, 503, 5)
            await replicas.queue.start()
            await more(writers, 202, 20)
            await replicas.kill(0)
            await replicas.postgres.start()
            await replicas.start(0)
            await more(writers, 201, 20)
            await replicas.queue.kill()
            await more(writers, 201, 20)
            await replicas.queue.start()
            await more(writers, 201, 20)

        await assert_all_in_order(replicas, writers)


async def test_events_after_queued_ones_do_not_pass_them_by_through_a_replica_without_the_queue(
    migrated_database: str, own_directory: Path, tmp_path: Path
):
    async with restartable_valkey(own_directory / "valkey") as queue:
        reachable = {"host": queue.server.host, "port": queue.server.port, "password": queue.server.password}
        nobody = {"host": "127.0.0.1", "port": 9, "timeout": "200ms"}
        nowhere = "postgresql://nobody:nothing@127.0.0.1:9/nothing"
        async with (
            open_process(nowhere, tmp_path, "without-postgres", queue={**reachable, "retryInterval": "1s"}) as first,
            open_process(migrated_database, tmp_path, "without-queue", queue=nobody) as second,
            httpx2.AsyncClient(timeout=20) as client,
        ):
            statuses = []
            for url, more in (
                (first.url, {}),
                (second.url, {"x-audit-after-queued": "true"}),
                (second.url, {"x-audit-after-queued": "true", "prefer": "handling=lenient"}),
                (second.url, {}),
            ):
                answer = await client.post(url + BATCH, content=a_body(a_wire_event()), headers=JSON | more)
                statuses.append(answer.status_code)

    assert statuses == [202, 503, 503, 201]
