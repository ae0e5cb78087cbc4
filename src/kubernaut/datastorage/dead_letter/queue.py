"""What this process knows of the shared queue: its state now, how full it is, and whether Valkey answers."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.dead_letter import messages
from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.datastorage.dead_letter.errors import NotDurable, QueueUnavailable
from kubernaut.datastorage.dead_letter.metrics import DeadLetterMetrics
from kubernaut.datastorage.dead_letter.seals import Seals
from kubernaut.datastorage.dead_letter.stream import DeadLetterStream, QueueState
from kubernaut.datastorage.errors import DataStorageError, Reason

log = structlog.get_logger("datastorage")

_WARNING, _CRITICAL, _OVERFLOW_IMMINENT = 0.8, 0.9, 0.95
_CROSSINGS = {
    _WARNING: "dead-letter queue approaching capacity",
    _CRITICAL: "dead-letter queue capacity critical",
    _OVERFLOW_IMMINENT: "dead-letter queue overflow imminent",
}


class DeadLetterQueue:
    """The queue as requests see it. `run` answers `state`, so that requests share one round trip."""

    def __init__(
        self, stream: DeadLetterStream, seals: Seals, config: DeadLetterConfig, metrics: DeadLetterMetrics
    ) -> None:
        self.stream = stream
        self.seals = seals
        self.may_hold_events = False
        """Whether the queue held events when this process last saw it."""

        self.unavailable: str | None = None
        """Why Valkey cannot be used, as a word for readiness."""

        self._config = config
        self._metrics = metrics
        self._waiting: list[asyncio.Future[QueueState]] = []
        self._wake = asyncio.Event()
        self._started = self._in_flight = 0
        self._crossed = 0.0

    async def state(self) -> QueueState:
        """The state at a moment after this call. Raises QueueUnavailable, at once while Valkey is known to be lost."""
        if self.unavailable:
            raise QueueUnavailable(f"dead-letter queue: {self.unavailable}")
        state: asyncio.Future[QueueState] = asyncio.get_running_loop().create_future()
        self._waiting.append(state)
        self._wake.set()
        return await state

    async def enqueue(self, entries: Sequence[Entry]) -> None:
        """Return when the events are on Valkey's disk. Raises CapacityExceeded, QueueUnavailable and NotDurable."""
        self._started += 1
        self._in_flight += 1
        try:
            now = datetime.now(UTC)
            sealed = [messages.encode(self.seals.seal(messages.of(entry, now))) for entry in entries]
            events, size = await self.stream.enqueue(sealed)
        except (QueueUnavailable, NotDurable) as error:
            self.may_hold_events = True  # the answer may be what got lost
            self._lost(error)
            raise
        finally:
            self._in_flight -= 1
        self.may_hold_events = True
        self._found()
        self._metrics.enqueued.inc(len(entries))
        self._capacity(events, size)

    async def look(self) -> QueueState:
        """The state, read by the caller itself, and noted. Raises QueueUnavailable and NotDurable."""
        started, in_flight = self._started, self._in_flight
        try:
            await self.stream.require_durability()
            state = await self.stream.state()
        except DataStorageError as error:
            self._lost(error)
            raise
        self._found()
        if state.depth:
            self.may_hold_events = True
        elif not in_flight and started == self._started:
            self.may_hold_events = False
        self._metrics.depth.set(state.depth)
        self._metrics.dead_letters.set(state.dead_letters)
        self._capacity(state.depth + state.dead_letters, state.bytes)
        return state

    async def run(self) -> None:
        """Answer those who wait for the state: one look serves everybody who asked before it began."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), self._config.retry_interval)
            except TimeoutError:
                if not self.unavailable:
                    continue
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            try:
                state = await self.look()
            except DataStorageError as error:
                for waiter in waiting:
                    if not waiter.done():
                        waiter.set_exception(QueueUnavailable(str(error)))
            else:
                for waiter in waiting:
                    if not waiter.done():
                        waiter.set_result(state)

    def _lost(self, error: DataStorageError) -> None:
        reason = error.reason or Reason.DEAD_LETTER_QUEUE_UNREACHABLE
        if self.unavailable != reason:
            log.error("dead-letter queue unavailable", error=str(error))
        self.unavailable = reason
        self._metrics.reachable.set(0)

    def _found(self) -> None:
        if self.unavailable:
            log.info("dead-letter queue available")
        self.unavailable = None
        self._metrics.reachable.set(1)

    def _capacity(self, events: int, size: int) -> None:
        ratio = max(events / self._config.max_events, size / self._config.max_size)
        self._metrics.bytes.set(size)
        self._metrics.capacity.set(ratio)
        self._metrics.warning.set(ratio >= _WARNING)
        self._metrics.critical.set(ratio >= _CRITICAL)
        self._metrics.overflow_imminent.set(ratio >= _OVERFLOW_IMMINENT)
        crossed = max((level for level in _CROSSINGS if ratio >= level), default=0.0)
        if crossed > self._crossed:
            write = log.warning if crossed == _WARNING else log.error
            write(_CROSSINGS[crossed], ratio=round(ratio, 3), events=events, bytes=size)
        self._crossed = crossed
