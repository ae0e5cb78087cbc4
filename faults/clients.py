"""A client in a process of its own: `python -m faults.clients CONFIG`.

Each of its writers takes one of the client's correlations, hands over a batch of events, and once the batch is
acknowledged writes that into a file and syncs it. SIGTERM ends it as a pod ends; SIGUSR1 says that the history is over:
it stops writing, waits until its spool is empty, and reports what is left.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

import httpx2
import msgspec

from kubernaut.api.events import AuditEvent
from kubernaut.api.vocabulary import EventOutcome
from kubernaut.audit import AuditConfig, ClientConfig, RetryConfig, SpoolConfig, SpoolFull, open_audit
from kubernaut.ops import logs

BATCH = "/api/v1/audit/events/batch"
FLUSH_TIMEOUT = 60.0  # seconds
REQUEST_TIMEOUT = 4.0  # seconds
RETRY_DELAY = 0.05  # seconds
MAX_BATCH = 8
MAX_EVENTS = 600
"""Events of one writer in one life; a machine that is slow must not fill the small disk by itself."""

NOTE = "x" * 200

Send = Callable[[list[AuditEvent]], Awaitable[bool]]
"""Returns whether the events were acknowledged; False when the client ends first."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is told."""

    name: str
    url: str
    has_spool: bool
    writers: int
    correlations: list[str]
    interval: float
    """Seconds between two batches of a writer."""
    spool: str
    files: str
    """Directory of `acknowledged`, `ready` and `report`."""


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """Events of one writer that were acknowledged together."""

    life: int
    writer: int
    correlation: str
    first: int
    last: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is left at the end."""

    waiting: int
    quarantined: int
    reason: str


def journal_of(config: Config) -> Path:
    """The file in which a client notes what was acknowledged."""
    return Path(config.files) / "acknowledged"


def event_id(client: str, life: int, writer: int, number: int) -> UUID:
    """The id of an event, known to the checker without asking."""
    return uuid5(NAMESPACE_OID, f"{client}/{life}/{writer}/{number}")


class Client:
    """One life of the process."""

    def __init__(self, config: Config, life: int) -> None:
        self._config = config
        self._life = life
        self._journal = journal_of(config).open("ab", buffering=0)
        self.is_stopping = asyncio.Event()

    async def write(self, writer: int, send: Send) -> None:
        """One batch after the other until the client ends."""
        rng = random.Random(f"{self._config.name}/{self._life}/{writer}")
        number = 0
        while not self.is_stopping.is_set() and number < MAX_EVENTS:
            correlation, count = rng.choice(self._config.correlations), rng.randint(1, MAX_BATCH)
            batch = [self._event(writer, number + each, correlation) for each in range(count)]
            if not await send(batch):
                return
            acknowledged = Acknowledgement(
                life=self._life, writer=writer, correlation=correlation, first=number, last=number + count - 1
            )
            self.note(asdict(acknowledged))
            number += count
            await self.pause(self._config.interval)
        await self.is_stopping.wait()

    def start(self) -> None:
        """Note a new life, on a line of its own: the last life may have died in the middle of one."""
        self._journal.write(b"\n")
        self.note({"started": self._life})

    def note(self, line: object) -> None:
        """Into the file of what was acknowledged, on disk when this returns."""
        self._journal.write(json.dumps(line).encode() + b"\n")
        os.fsync(self._journal.fileno())

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.is_stopping.wait()

    def _event(self, writer: int, number: int, correlation: str) -> AuditEvent:
        data = {
            "client": self._config.name,
            "life": self._life,
            "writer": writer,
            "number": number,
            "correlation": correlation,
            "note": NOTE,
        }
        return AuditEvent(
            event_type="signalprocessing.phase.transition",
            event_timestamp=datetime.now(UTC),
            event_category="signalprocessing",
            event_action="phase_transition",
            event_outcome=EventOutcome.SUCCESS,
            correlation_id=correlation,
            event_data=msgspec.Raw(msgspec.json.encode(data)),
            event_id=event_id(self._config.name, self._life, writer, number),
        )


@asynccontextmanager
async def open_spooled(config: Config, client: Client) -> AsyncIterator[tuple[Send, Callable[[], Awaitable[Report]]]]:
    """Through `kubernaut.audit`."""
    audit = AuditConfig(
        spool=SpoolConfig(directory=Path(config.spool)),
        client=ClientConfig(url=config.url, timeout=REQUEST_TIMEOUT),
        retry=RetryConfig(initial_delay=0.05, max_delay=0.3),
        flush_interval=0.02,
        batch_size=40,
        drain_timeout=0.5,
    )
    async with open_audit(audit, config.name) as store:

        async def send(batch: list[AuditEvent]) -> bool:
            while not client.is_stopping.is_set():
                try:
                    # What is still on its way to a full disk is not taken twice.
                    store.record(batch)
                    await store.committed()
                except SpoolFull:
                    await client.pause(RETRY_DELAY)
                else:
                    return True
            return False

        async def report() -> Report:
            flushed = await store.flush(FLUSH_TIMEOUT)
            return Report(waiting=store.waiting, quarantined=store.quarantined, reason=flushed.reason)

        yield send, report


@asynccontextmanager
async def open_plain(config: Config, client: Client) -> AsyncIterator[tuple[Send, Callable[[], Awaitable[Report]]]]:
    """Over HTTP, with nothing of ours in between: strict and lenient batches in turn."""
    async with httpx2.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT) as http:
        is_lenient = is_after_queued = False

        async def send(batch: list[AuditEvent]) -> bool:
            nonlocal is_lenient, is_after_queued
            is_lenient = not is_lenient
            body = msgspec.json.encode(batch)
            while not client.is_stopping.is_set():
                headers = {"content-type": "application/json"}
                headers |= {"prefer": "handling=lenient"} if is_lenient else {}
                headers |= {"x-audit-after-queued": "true"} if is_after_queued else {}
                with suppress(httpx2.HTTPError):
                    answer = await http.post(config.url + BATCH, content=body, headers=headers)
                    statuses = statuses_of(answer.status_code, answer.content)
                    is_after_queued = 202 in statuses or (is_after_queued and 201 not in statuses)
                    if statuses and statuses <= {201, 202}:
                        return True
                await client.pause(RETRY_DELAY)
            return False

        async def report() -> Report:
            return Report(waiting=0, quarantined=0, reason="")

        yield send, report


def statuses_of(status: int, body: bytes) -> set[int]:
    """What an answer of DataStorage says about the events: 201, 202, or why not."""
    if status == 207:
        return {result["status"] for result in json.loads(body)["results"]}
    return {status}


async def run(config: Config) -> None:
    """Live until a signal."""
    files, journal = Path(config.files), journal_of(config)
    lives = journal.read_bytes().count(b'"started"') if journal.exists() else 0
    client = Client(config, lives)
    client.start()
    is_over = False

    def finish() -> None:
        nonlocal is_over
        is_over = True
        client.is_stopping.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, finish)
    loop.add_signal_handler(signal.SIGTERM, client.is_stopping.set)
    opening = open_spooled if config.has_spool else open_plain
    async with opening(config, client) as (send, report):
        (files / "ready").write_text(str(os.getpid()))
        async with asyncio.TaskGroup() as tasks:
            for writer in range(config.writers):
                tasks.create_task(client.write(writer, send))
        if is_over:
            (files / "report").write_bytes(msgspec.json.encode(await report()))


if __name__ == "__main__":
    logs.configure(logs.LogLevel.INFO, stream=sys.stdout)
    asyncio.run(run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)))
