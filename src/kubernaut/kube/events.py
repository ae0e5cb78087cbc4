"""Kubernetes Events: what `kubectl describe` shows about an object.

They are for people, kept for an hour, and worth little beside the work they tell of. So `record` never waits: a
background task writes, the same event again only raises its count, one object cannot write without end, and what does
not fit is dropped and counted. Nothing may depend on an Event being there; the audit trail is for that.
"""

import asyncio
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from kubernaut.kube.client import Client
from kubernaut.kube.errors import KubeError, NotFound, ServerError, Throttled, Unreachable
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, Kind, KubeObject, PartialObject, Raw
from kubernaut.ops.backoff import Backoff

EVENT = Kind(version="v1", kind="Event", plural="events", type=PartialObject)
_MESSAGE_MOST = 1024  # characters; the server's own limit for new Events
log = structlog.get_logger("kube")


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    component: str
    """Who reports, as the Event's source says it."""
    capacity: int = 2_000
    """Different events that may wait; a new one is dropped when as many do."""
    burst: int = 25
    """Writes one object may cause at once."""
    refill: float = 300.0  # seconds
    """Until one object may cause one write more."""
    remembered: int = 4_096
    """Events and objects remembered for folding and limiting; the least recently used go first."""
    attempts: int = 8
    """Times to try to write an event while the server is out of reach."""
    flush_for: float = 3.0  # seconds
    """How long closing may take to write what waits."""
    backoff: Backoff = Backoff(initial_delay=0.5, max_delay=15.0)  # noqa: RUF009 - it is frozen


class _Same(NamedTuple):
    """What makes two events the same one, counted twice."""

    uid: str
    type: str
    reason: str
    message: str


@dataclass
class _Waiting:
    regarding: Raw
    count: int = 1
    first: datetime = field(default_factory=lambda: datetime.now(UTC))
    last: datetime = field(default_factory=lambda: datetime.now(UTC))
    attempts: int = 0


@dataclass
class _Written:
    key: Key
    count: int


class EventRecorder:
    """Writes Events in the background; made by `open_recorder`."""

    def __init__(self, client: Client, config: RecorderConfig, metrics: KubeMetrics) -> None:
        self._client = client
        self._config = config
        self._metrics = metrics
        self._waiting: OrderedDict[_Same, _Waiting] = OrderedDict()
        self._written: OrderedDict[_Same, _Written] = OrderedDict()
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._something = asyncio.Event()
        self._all_written = asyncio.Event()
        self._all_written.set()
        self._closed = False
        self._complained = False

    def record(self, kind: Kind[Any], obj: KubeObject, reason: str, message: str, *, warning: bool = False) -> None:
        """Say something about an object. Never waits, never raises; what cannot be taken in is dropped and counted."""
        same = _Same(obj.metadata.uid, "Warning" if warning else "Normal", reason, message[:_MESSAGE_MOST])
        if self._closed:
            self._drop("closed")
            return
        waiting = self._waiting.get(same)
        if waiting is not None:
            waiting.count += 1
            waiting.last = datetime.now(UTC)
            return
        if len(self._waiting) >= self._config.capacity:
            self._drop("full")
            return
        if not self._may_write(same.uid):
            self._drop("limited")
            return
        self._waiting[same] = _Waiting(
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "name": obj.metadata.name,
                "namespace": obj.metadata.namespace,
                "uid": obj.metadata.uid,
                "resourceVersion": obj.metadata.resource_version,
            }
        )
        self._something.set()
        self._all_written.clear()

    async def flush(self, seconds: float) -> bool:
        """Wait until everything recorded so far is written or given up; False when it took longer than that."""
        try:
            async with asyncio.timeout(seconds):
                await self._all_written.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Take nothing more in and drop what waits."""
        self._closed = True
        for waiting in self._waiting.values():
            self._drop("closed", waiting.count)
        self._waiting.clear()

    async def run(self) -> None:
        """Write what is recorded, for ever."""
        while True:
            await self._something.wait()
            while self._waiting:
                same, waiting = next(iter(self._waiting.items()))
                del self._waiting[same]
                try:
                    await self._write(same, waiting)
                except (Unreachable, Throttled, ServerError) as error:
                    await self._try_later(same, waiting, error)
                except KubeError as error:
                    self._drop("refused", waiting.count)
                    self._complain(error)
                except asyncio.CancelledError:
                    self._drop("closed", waiting.count)
                    raise
                else:
                    self._metrics.events_written.inc()
                    self._complained = False
            self._something.clear()
            self._all_written.set()

    async def _write(self, same: _Same, waiting: _Waiting) -> None:
        written = self._written.get(same)
        if written is not None:
            count = written.count + waiting.count
            change = {"count": count, "lastTimestamp": _stamp(waiting.last)}
            try:
                await self._client.patch(EVENT, written.key, change)
            except NotFound:
                pass  # it was an hour old and has expired; a new one begins
            else:
                written.count = count
                self._written.move_to_end(same)
                return
        event = self._event(same, waiting)
        await self._client.create(EVENT, event)
        key = Key(event["metadata"]["namespace"], event["metadata"]["name"])
        self._written[same] = _Written(key, waiting.count)
        self._written.move_to_end(same)
        if len(self._written) > self._config.remembered:
            self._written.popitem(last=False)

    def _event(self, same: _Same, waiting: _Waiting) -> Raw:
        name = f"{waiting.regarding['name'][:230]}.{secrets.token_hex(8)}"
        return {
            "metadata": {"name": name, "namespace": waiting.regarding["namespace"] or "default"},
            "involvedObject": waiting.regarding,
            "type": same.type,
            "reason": same.reason,
            "message": same.message,
            "count": waiting.count,
            "firstTimestamp": _stamp(waiting.first),
            "lastTimestamp": _stamp(waiting.last),
            "source": {"component": self._config.component},
            "reportingComponent": self._config.component,
            "reportingInstance": socket.gethostname(),
        }

    async def _try_later(self, same: _Same, waiting: _Waiting, error: KubeError) -> None:
        waiting.attempts += 1
        if waiting.attempts >= self._config.attempts:
            self._drop("failed", waiting.count)
            self._complain(error)
            return
        newer = self._waiting.get(same)  # recorded again while we tried
        if newer is not None:
            waiting.count += newer.count
            waiting.last = newer.last
        self._waiting[same] = waiting
        self._waiting.move_to_end(same, last=False)
        await asyncio.sleep(max(self._config.backoff.delay(waiting.attempts), min(error.retry_after or 0.0, 60.0)))

    def _may_write(self, uid: str) -> bool:
        now = time.monotonic()
        allowance, since = self._allowances.get(uid, (float(self._config.burst), now))
        allowance = min(float(self._config.burst), allowance + (now - since) / self._config.refill)
        allowed = allowance >= 1.0
        self._allowances[uid] = (allowance - 1.0 if allowed else allowance, now)
        self._allowances.move_to_end(uid)
        if len(self._allowances) > self._config.remembered:
            self._allowances.popitem(last=False)
        return allowed

    def _drop(self, reason: str, count: int = 1) -> None:
        self._metrics.events_dropped.labels(reason).inc(count)

    def _complain(self, error: KubeError) -> None:
        if not self._complained:
            self._complained = True
            log.warning("Kubernetes Events are not written", error=str(error))


@asynccontextmanager
async def open_recorder(
    client: Client, config: RecorderConfig, metrics: KubeMetrics | None = None
) -> AsyncIterator[EventRecorder]:
    """A recorder that lives inside the block; leaving it takes at most `flush_for` seconds."""
    recorder = EventRecorder(client, config, metrics or KubeMetrics())
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(recorder.run(), name="event recorder")
        try:
            yield recorder
            await recorder.flush(config.flush_for)
        finally:
            writer.cancel()
            recorder.close()


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
