"""Sends finished signals to one receiver: at least once, each with an id, however long the receiver is away.

`offer` is called for every change of every signal, also of those that were there before this process. It never waits.
An event is on disk before it is sent; until it is, its signal in the cluster is what it is made of again. While nobody
answers, the whole sink pauses; an answer that refuses one event delays only that event.
"""

import asyncio
import contextlib
import sqlite3
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx2
import structlog

from kubernaut.api.signals import SignalProcessing
from kubernaut.api.summaries import team
from kubernaut.ops.backoff import Backoff
from kubernaut.ops.http import answers
from kubernaut.ops.settings import SettingsError
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.sinks import cloud_events
from kubernaut.signalprocessing.sinks.config import SinkConfig
from kubernaut.signalprocessing.sinks.metrics import SinkMetrics
from kubernaut.signalprocessing.sinks.outbox import Outbox, Pending

log = structlog.get_logger("sink")
T = TypeVar("T")

RETRY = Backoff(initial_delay=1.0, max_delay=300.0)
MAX_RETRY_AFTER = 300.0  # seconds
DISK_RETRY_INTERVAL = 5.0  # seconds
MAX_ANSWER = 16 * 2**20  # bytes of what a receiver answers, of which nothing is used
MAX_BATCH = 500
"""Events that are written to disk together."""


class Sink:
    """One receiver; made by `open_sink`."""

    def __init__(self, config: SinkConfig, outbox: Outbox, http: httpx2.AsyncClient, metrics: SinkMetrics) -> None:
        self._config = config
        self._outbox = outbox
        self._http = http
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sink-{config.name}")
        self._incoming: dict[uuid.UUID, bytes] = {}
        self._in_flight: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._pending = outbox.counts()[0]
        self._overflowed = False
        self._failures = 0
        self._paused_until = 0.0
        self.relist: Callable[[], Iterable[SignalProcessing]] = tuple
        """The signals of the cluster, to be offered again when there is room."""
        self.cluster = ""

    def offer(self, signal: SignalProcessing) -> None:
        """Send the signal if it has ended, is wanted and was not sent before."""
        status, config = signal.status, self._config
        if status.phase is None or not status.phase.is_final or status.completion_time is None:
            return
        if status.completion_time.timestamp() < self._outbox.since or not self._is_wanted(signal):
            return
        identifier = uuid.UUID(cloud_events.event_id(signal))
        if identifier.bytes in self._outbox.known:
            return
        if self._pending + len(self._incoming) >= config.max_pending:
            if not self._overflowed:
                log.warning("outbox full", sink=config.name, max_pending=config.max_pending)
            self._overflowed = True
            return
        self._outbox.known.add(identifier.bytes)
        self._incoming[identifier] = cloud_events.encode(signal, self.cluster)
        self._wake.set()

    def _is_wanted(self, signal: SignalProcessing) -> bool:
        config, status = self._config, signal.status
        priority = status.priority_assignment.priority if status.priority_assignment else None
        environment = status.environment_classification.environment if status.environment_classification else None
        return (
            (not config.priorities or priority in config.priorities)
            and (not config.environments or environment in config.environments)
            and (not config.teams or team(signal) in config.teams)
        )

    async def run(self) -> None:
        """Write what is offered, and send what is due, until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    timeout = await self._step()
                except sqlite3.Error as error:
                    # A full disk must not stop the controller; what is not on disk is offered or read again.
                    log.error("outbox failed, retrying", sink=self._config.name, error=str(error))
                    timeout = DISK_RETRY_INTERVAL
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._wake.wait()
        finally:
            for task in self._in_flight.values():
                task.cancel()
            await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
            # What is not on disk yet is made again of its signal at the next start.
            self._thread.shutdown()

    async def _step(self) -> float | None:
        await self._write()
        await self._send_due()
        if self._overflowed and self._pending <= self._config.max_pending // 2:
            self._overflowed = False
            for signal in self.relist():
                self.offer(signal)
        return 0.0 if self._incoming else await self._until_next()

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _write(self) -> None:
        while self._incoming:
            batch = dict(list(self._incoming.items())[:MAX_BATCH])
            await self._in_thread(self._outbox.add, list(batch.items()))
            for identifier in batch:
                del self._incoming[identifier]
        self._pending, oldest = await self._in_thread(self._outbox.counts)
        self._metrics.pending(self._config.name, self._pending, oldest)

    async def _send_due(self) -> None:
        room = self._config.concurrency - len(self._in_flight)
        if room <= 0 or time.monotonic() < self._paused_until:
            return
        for event in await self._in_thread(self._outbox.due, time.time(), room, list(self._in_flight)):
            task = asyncio.create_task(self._send(event), name=f"sink {self._config.name}")
            self._in_flight[event.id] = task
            task.add_done_callback(partial(self._sent, event.id))

    def _sent(self, identifier: uuid.UUID, _: asyncio.Task[None]) -> None:
        del self._in_flight[identifier]
        self._wake.set()

    async def _until_next(self) -> float | None:
        """Seconds until there is something to do; None when only a signal or an answer brings that."""
        if len(self._in_flight) >= self._config.concurrency:
            return None
        due = await self._in_thread(self._outbox.next_due, list(self._in_flight))
        if due is None:
            return None
        return max(0.0, due - time.time(), self._paused_until - time.monotonic())

    async def _send(self, event: Pending) -> None:
        try:
            await self._deliver(event)
        except sqlite3.Error as error:
            # The event still waits, and is sent once more.
            log.error("outbox failed, retrying", sink=self._config.name, error=str(error))
            self._paused_until = time.monotonic() + DISK_RETRY_INTERVAL

    async def _deliver(self, event: Pending) -> None:
        failure, retry_after = await self._attempt(event)
        if not failure:
            if self._failures:
                log.info("sink works again", sink=self._config.name)
            self._failures, self._paused_until = 0, 0.0
            await self._end(event, "delivered")
            return
        if time.time() - event.added > self._config.max_age:
            log.error("event given up", sink=self._config.name, id=str(event.id), error=failure)
            await self._end(event, "given_up")
            return
        delay = max(RETRY.delay(event.attempts + 1), min(retry_after, MAX_RETRY_AFTER))
        await self._in_thread(self._outbox.retry, event, time.time() + delay)

    async def _end(self, event: Pending, outcome: str) -> None:
        await self._in_thread(self._outbox.end, event)
        self._pending -= 1
        self._metrics.ended(self._config.name, outcome)

    async def _attempt(self, event: Pending) -> tuple[str, float]:
        """Why the event was not delivered, empty when it was; and the seconds that the receiver asked to wait."""
        try:
            headers = await asyncio.to_thread(self._headers, event)
            async with asyncio.timeout(self._config.timeout):
                response = await answers.request(
                    self._http, "POST", self._config.url, max_size=MAX_ANSWER, content=event.body, headers=headers
                )
        except (httpx2.HTTPError, TimeoutError, OSError, ValueError) as error:
            self._metrics.attempted(self._config.name, "error")
            return self._pause(str(error) or f"no answer within {self._config.timeout:g} s", 0.0), 0.0
        self._metrics.attempted(self._config.name, f"{response.status_code // 100}xx")
        if response.is_success:
            return "", 0.0
        failure, retry_after = f"answered {response.status_code}", _seconds(response.headers.get("retry-after", ""))
        if response.status_code >= 500 or response.status_code == 429:
            self._pause(failure, retry_after)
        else:
            log.warning("event refused", sink=self._config.name, id=str(event.id), status=response.status_code)
        return failure, retry_after

    def _pause(self, failure: str, retry_after: float) -> str:
        """Send nothing for a while: the receiver is away, not the event bad."""
        self._failures += 1
        if self._failures == 1:
            log.warning("sink failed, retrying", sink=self._config.name, url=self._config.url, error=failure)
        delay = max(RETRY.delay(self._failures), min(retry_after, MAX_RETRY_AFTER))
        self._paused_until = max(self._paused_until, time.monotonic() + delay)
        return failure

    def _headers(self, event: Pending) -> dict[str, str]:
        config = self._config
        headers = {"content-type": cloud_events.CONTENT_TYPE, "user-agent": "kubernaut", "webhook-id": str(event.id)}
        if config.token_file is not None:
            headers["authorization"] = f"Bearer {config.token_file.read_text().strip()}"
        if config.secret_file is not None:
            timestamp = int(time.time())
            secret = cloud_events.secret_of(config.secret_file.read_text())
            headers["webhook-timestamp"] = str(timestamp)
            headers["webhook-signature"] = cloud_events.sign(secret, str(event.id), timestamp, event.body)
        return headers


@asynccontextmanager
async def open_sink(
    config: SinkConfig, directory: Path, metrics: SinkMetrics, cluster: str = ""
) -> AsyncIterator[Sink]:
    """A sink that runs until the block ends. Raises SettingsError when its files cannot be used."""
    if config.secret_file is not None:
        try:
            cloud_events.secret_of(config.secret_file.read_text())
        except (OSError, ValueError) as error:
            reason = f"{config.secret_file} holds no key: {getattr(error, 'strerror', None) or error}"
            raise SettingsError(f"sinks.{config.name}.secretFile", str(config.secret_file), reason) from None
    outbox = Outbox(directory / f"{config.name}.sqlite")
    try:
        async with httpx2.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=config.timeout,
            verify=_verification(config),
            cookies=answers.no_cookies(),
        ) as http:
            sink = Sink(config, outbox, http, metrics)
            sink.cluster = cluster
            async with background(sink.run(), name=f"sink {config.name}"):
                yield sink
    finally:
        outbox.close()


def _verification(config: SinkConfig) -> ssl.SSLContext | bool:
    """How the receiver's certificate is checked. Raises SettingsError."""
    if config.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:  # an SSLError is one
        reason = f"failed to read CA certificates: {error}"
        raise SettingsError(f"sinks.{config.name}.caFile", str(config.ca_file), reason) from error


def _seconds(text: str) -> float:
    return float(text) if text.strip().isdecimal() and len(text) < 10 else 0.0
