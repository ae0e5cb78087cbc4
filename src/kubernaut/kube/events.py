"""Kubernetes Events: what `kubectl describe` shows about an object.

They are for people, kept for an hour, and less important than the work that they report. So `record` never waits: a
background task writes, a repeated event only raises its count, a token bucket limits the writes for each object, and
what exceeds a limit is dropped and counted. Nothing may depend on an Event being there; the audit trail is for that.
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
from kubernaut.kube.errors import ApiServerUnreachable, KubeError, NotFound, ServerError, TooManyRequests
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, Kind, KubeObject, PartialObjectMetadata, Unstructured
from kubernaut.ops.backoff import Backoff
from kubernaut.ops.tasks import background

EVENT = Kind(version="v1", kind="Event", plural="events", type=PartialObjectMetadata)
_MAX_MESSAGE_LENGTH = 1024  # characters; the server's limit for new Events
log = structlog.get_logger("kube")


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    component: str
    """The source of the Events, as `kubectl describe` shows it."""
    max_pending: int = 2_000
    """Different events that wait to be written; further ones are dropped."""
    burst: int = 25
    """Writes that one object may cause at once."""
    refill_interval: float = 300.0  # seconds
    """Until one object may cause one more write."""
    max_remembered: int = 4_096
    """Events and objects remembered for counting and limiting; the least recently used go first."""
    max_attempts: int = 8
    """Times to try to write an event while the server is unreachable."""
    flush_timeout: float = 3.0  # seconds
    """For writing the pending events on exit."""
    backoff: Backoff = Backoff(initial_delay=0.5, max_delay=15.0)  # noqa: RUF009 - it is frozen


class _EventKey(NamedTuple):
    """Two events with the same key are one Event with a count of two."""

    uid: str
    type: str
    reason: str
    message: str


@dataclass
class _Pending:
    regarding: Unstructured
    count: int = 1
    first: datetime = field(default_factory=lambda: datetime.now(UTC))
    last: datetime = field(default_factory=lambda: datetime.now(UTC))
    attempts: int = 0


@dataclass
class _Written:
    event: Key
    count: int


class _SpamFilter:
    """A token bucket per object: `burst` writes at once, then one per `refill_interval`."""

    def __init__(self, config: RecorderConfig) -> None:
        self._config = config
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def try_accept(self, uid: str) -> bool:
        """Take a token from the object's bucket; False when it is empty."""
        now, burst = time.monotonic(), float(self._config.burst)
        tokens, updated_at = self._buckets.get(uid, (burst, now))
        tokens = min(burst, tokens + (now - updated_at) / self._config.refill_interval)
        is_accepted = tokens >= 1.0
        self._buckets[uid] = (tokens - 1.0 if is_accepted else tokens, now)
        self._buckets.move_to_end(uid)
        if len(self._buckets) > self._config.max_remembered:
            self._buckets.popitem(last=False)
        return is_accepted


class EventRecorder:
    """Writes Events in the background; made by `open_recorder`."""

    def __init__(self, client: Client, config: RecorderConfig, metrics: KubeMetrics) -> None:
        self._client = client
        self._config = config
        self._metrics = metrics
        self._pending: OrderedDict[_EventKey, _Pending] = OrderedDict()
        self._written: OrderedDict[_EventKey, _Written] = OrderedDict()
        self._spam_filter = _SpamFilter(config)
        self._not_empty = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._is_closed = False
        self._is_failing = False

    def record(self, kind: Kind[Any], obj: KubeObject, reason: str, message: str, *, warning: bool = False) -> None:
        """Report an event of an object. Never waits and never raises; what exceeds a limit is dropped and counted."""
        key = _EventKey(obj.metadata.uid, "Warning" if warning else "Normal", reason, message[:_MAX_MESSAGE_LENGTH])
        if self._is_closed:
            self._drop("shutdown")
            return
        pending = self._pending.get(key)
        if pending is not None:
            pending.count += 1
            pending.last = datetime.now(UTC)
            return
        if len(self._pending) >= self._config.max_pending:
            self._drop("queue_full")
            return
        if not self._spam_filter.try_accept(key.uid):
            self._drop("rate_limited")
            return
        self._pending[key] = _Pending(
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "name": obj.metadata.name,
                "namespace": obj.metadata.namespace,
                "uid": obj.metadata.uid,
                "resourceVersion": obj.metadata.resource_version,
            }
        )
        self._not_empty.set()
        self._flushed.clear()

    async def flush(self, timeout: float) -> bool:
        """Wait until everything recorded so far is written or dropped; False after the timeout."""
        try:
            async with asyncio.timeout(timeout):
                await self._flushed.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Accept no more events and drop the pending ones."""
        self._is_closed = True
        for pending in self._pending.values():
            self._drop("shutdown", pending.count)
        self._pending.clear()

    async def run(self) -> None:
        """Write the pending events, for ever."""
        while True:
            await self._not_empty.wait()
            while self._pending:
                key, pending = next(iter(self._pending.items()))
                del self._pending[key]
                try:
                    await self._write(key, pending)
                except (ApiServerUnreachable, TooManyRequests, ServerError) as error:
                    await self._retry_later(key, pending, error)
                except KubeError as error:
                    self._drop("rejected", pending.count)
                    self._log_failure(error)
                except asyncio.CancelledError:
                    self._drop("shutdown", pending.count)
                    raise
                else:
                    self._metrics.events_written.inc()
                    self._is_failing = False
            self._not_empty.clear()
            self._flushed.set()

    async def _write(self, key: _EventKey, pending: _Pending) -> None:
        written = self._written.get(key)
        if written is not None:
            count = written.count + pending.count
            patch = {"count": count, "lastTimestamp": _stamp(pending.last)}
            try:
                await self._client.patch(EVENT, written.event, patch)
            except NotFound:
                pass  # it has expired; create a new one
            else:
                written.count = count
                self._written.move_to_end(key)
                return
        event = self._event(key, pending)
        await self._client.create(EVENT, event)
        self._written[key] = _Written(Key(event["metadata"]["namespace"], event["metadata"]["name"]), pending.count)
        self._written.move_to_end(key)
        if len(self._written) > self._config.max_remembered:
            self._written.popitem(last=False)

    def _event(self, key: _EventKey, pending: _Pending) -> Unstructured:
        name = f"{pending.regarding['name'][:230]}.{secrets.token_hex(8)}"
        return {
            "metadata": {"name": name, "namespace": pending.regarding["namespace"] or "default"},
            "involvedObject": pending.regarding,
            "type": key.type,
            "reason": key.reason,
            "message": key.message,
            "count": pending.count,
            "firstTimestamp": _stamp(pending.first),
            "lastTimestamp": _stamp(pending.last),
            "source": {"component": self._config.component},
            "reportingComponent": self._config.component,
            "reportingInstance": socket.gethostname(),
        }

    async def _retry_later(self, key: _EventKey, pending: _Pending, error: KubeError) -> None:
        pending.attempts += 1
        if pending.attempts >= self._config.max_attempts:
            self._drop("failed", pending.count)
            self._log_failure(error)
            return
        newer = self._pending.get(key)  # recorded again during the attempt
        if newer is not None:
            pending.count += newer.count
            pending.last = newer.last
        self._pending[key] = pending
        self._pending.move_to_end(key, last=False)
        await asyncio.sleep(max(self._config.backoff.delay(pending.attempts), min(error.retry_after or 0.0, 60.0)))

    def _drop(self, reason: str, count: int = 1) -> None:
        self._metrics.events_dropped.labels(reason).inc(count)

    def _log_failure(self, error: KubeError) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.warning("writing Kubernetes Events failed", error=str(error))


@asynccontextmanager
async def open_recorder(
    client: Client, config: RecorderConfig, metrics: KubeMetrics | None = None
) -> AsyncIterator[EventRecorder]:
    """A recorder that lives inside the block; leaving it takes at most `flush_timeout` seconds."""
    recorder = EventRecorder(client, config, metrics or KubeMetrics())
    try:
        async with background(recorder.run(), name="event recorder"):
            yield recorder
            await recorder.flush(config.flush_timeout)
    finally:
        recorder.close()


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
