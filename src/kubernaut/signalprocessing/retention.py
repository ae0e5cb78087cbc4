"""Deleting what has ended long ago, so that a cluster does not fill up with signals.

A signal goes with its request where the gateway made that: the request is deleted and the cluster's garbage collector
deletes the signal. A signal without a parent is deleted itself. Requests that an orchestrator works on, and signals of
parents that are not the gateway's, are left to whoever made them.

An age counts by two clocks, this process's and the API server's, and by the earlier one of the two, so that a clock
that jumps ahead deletes nothing. Nothing counts as older than its object, whose creation the API server has written.

Nothing is deleted before DataStorage has acknowledged all audit events of the signal: this process has recorded them,
and none of them waits in its spool or lies in quarantine.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from kubernaut.api.remediation import REMEDIATION_KIND, RemediationRequest
from kubernaut.api.signals import SignalProcessing
from kubernaut.kube.client import Client
from kubernaut.kube.errors import Conflict, KubeError, NotFound
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key, Kind, key_of
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.kinds import REMEDIATION, SIGNAL

log = structlog.get_logger("retention")

MAX_INTERVAL = 60.0  # seconds
"""Between two sweeps; a tenth of the retention where that is less."""
MIN_INTERVAL = 0.05  # seconds
MAX_DELETIONS = 500
"""In one sweep; a backlog of months must not become a storm of writes."""

MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)
"""Between this clock and the API server's; more is a line of the log."""

GATEWAY = "gateway-service"
MANAGED_BY = "app.kubernetes.io/managed-by"


class RetentionMetrics:
    """What was deleted, and what is still there although its time is over."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deleted = Counter(
            "signalprocessing_retention_deleted_total",
            "Ended signals and their requests that were deleted.",
            ["kind"],
            registry=registry,
        )
        self.errors = Counter(
            "signalprocessing_retention_errors_total", "Deletions that the API server refused.", registry=registry
        )
        self.waiting = Gauge(
            "signalprocessing_retention_waiting_signals",
            "Signals past their retention whose audit events DataStorage has not acknowledged.",
            registry=registry,
        )


@dataclass(frozen=True, kw_only=True)
class Expired:
    """What one sweep found."""

    deletable: tuple[tuple[Kind[Any], Any], ...] = ()
    """Objects with their kinds, the oldest first."""
    waiting: int = 0
    """Signals whose audit events are not acknowledged."""


def expired(
    signals: Iterable[SignalProcessing],
    requests: Iterable[RemediationRequest],
    retention: float,
    is_acknowledged: Callable[[SignalProcessing], bool],
    now: datetime,
) -> Expired:
    """What may be deleted `retention` seconds after its end. Pure."""
    before = now - timedelta(seconds=retention)
    by_uid = {request.metadata.uid: request for request in requests}
    waiting = 0
    kept: set[str] = set()
    found: list[tuple[datetime, Kind[Any], Any]] = []
    for signal in signals:
        parent = parent_uid(signal)
        ended_at = _latest(signal.status.completion_time, signal)
        is_over = (
            ended_at is not None and ended_at < before and bool(signal.status.phase and signal.status.phase.is_final)
        )
        is_ready = is_over and is_acknowledged(signal)
        waiting += is_over and not is_ready
        if parent and not is_ready:
            kept.add(parent)
        elif is_ready and ended_at is not None and not parent and signal.metadata.deletion_timestamp is None:
            found.append((ended_at, SIGNAL, signal))
    for uid, request in by_uid.items():
        last = last_used(request)
        if uid not in kept and last is not None and last < before and is_ours_and_closed(request):
            found.append((last, REMEDIATION, request))
    found.sort(key=lambda entry: entry[0])
    return Expired(deletable=tuple((kind, obj) for _, kind, obj in found), waiting=waiting)


def parent_uid(signal: SignalProcessing) -> str:
    """The uid of the request that owns the signal; empty when none does."""
    owners = signal.metadata.owner_references
    return next((owner.uid for owner in owners if owner.kind == REMEDIATION_KIND), "")


def last_used(request: RemediationRequest) -> datetime | None:
    """When an alert was last counted on the request, or when it was made."""
    deduplication = request.status.deduplication
    last_seen_at = deduplication.last_seen_at if deduplication else None
    return _latest(last_seen_at or request.metadata.creation_timestamp, request)


def _latest(at: datetime | None, obj: SignalProcessing | RemediationRequest) -> datetime | None:
    """The time, but not before the object was created: whoever wrote it may have had a clock that is behind."""
    created_at = obj.metadata.creation_timestamp
    return max(at, created_at) if at and created_at else at


def earlier_clock(local: datetime, server: datetime | None) -> datetime | None:
    """The time by which ages count; None where the API server does not tell its own. Pure."""
    return min(local, server) if server else None


def is_ours_and_closed(request: RemediationRequest) -> bool:
    """Whether the gateway made the request and no orchestrator has taken it over.

    One that nothing was counted on for the retention counts as closed, as its resolve notice may have got lost.
    """
    metadata = request.metadata
    return (
        metadata.labels.get(MANAGED_BY) == GATEWAY
        and not request.status.overall_phase
        and metadata.deletion_timestamp is None
    )


class Acknowledged(Protocol):
    """Knows whether DataStorage has all audit events of a signal."""

    def is_acknowledged(self, signal: SignalProcessing) -> bool: ...


class Retention:
    """Deletes at an interval while the replica leads."""

    def __init__(
        self,
        client: Client,
        signals: Informer[SignalProcessing],
        requests: Informer[RemediationRequest] | None,
        acknowledged: Acknowledged,
        metrics: RetentionMetrics,
    ) -> None:
        self._client = client
        self._signals = signals
        self._requests = requests
        self._acknowledged = acknowledged
        self._metrics = metrics
        self._last_error = ""
        self._clocks_differ = False

    async def run(self, seconds: float) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(max(MIN_INTERVAL, min(MAX_INTERVAL, seconds / 10)))
            await self.sweep(seconds)

    async def sweep(self, seconds: float) -> None:
        """Delete what may be deleted now."""
        now = await self._now()
        if now is None:
            return
        requests: Sequence[RemediationRequest] = self._requests.list() if self._requests else ()
        found = expired(self._signals.list(), requests, seconds, self._acknowledged.is_acknowledged, now)
        self._metrics.waiting.set(found.waiting)
        deleted = 0
        for kind, obj in found.deletable[:MAX_DELETIONS]:
            deleted += await self._delete(kind, obj)
        if deleted:
            log.info("expired signals deleted", deleted=deleted, left=len(found.deletable) - deleted)

    async def _now(self) -> datetime | None:
        """The time by which ages count; None where nothing may be deleted for want of the API server's."""
        try:
            server = await self._client.server_time()
        except KubeError:
            return None
        local = datetime.now(UTC)
        differs = server is None or abs(local - server) > MAX_CLOCK_DIFFERENCE
        if differs and not self._clocks_differ:
            log.warning(
                "clock differs from the API server's, ages count by the earlier one"
                if server
                else "API server does not tell its time, nothing is deleted",
                local=f"{local:%Y-%m-%dT%H:%M:%SZ}",
                server=f"{server:%Y-%m-%dT%H:%M:%SZ}" if server else None,
            )
        self._clocks_differ = differs
        return earlier_clock(local, server)

    async def _delete(self, kind: Kind[Any], obj: Any) -> bool:
        key: Key = key_of(obj)
        try:
            # Only as it was judged: an alert may have been counted on the request meanwhile.
            await self._client.delete(kind, key, precondition=obj)
        except (NotFound, Conflict):
            return False
        except KubeError as error:
            self._metrics.errors.inc()
            if str(error) != self._last_error:
                log.warning("deleting an expired object failed", kind=str(kind), object=str(key), error=str(error))
            self._last_error = str(error)
            return False
        self._metrics.deleted.labels(kind.kind).inc()
        return True


@asynccontextmanager
async def open_retention(retention: Retention, seconds: float) -> AsyncIterator[None]:
    """Sweep in the background while the block runs; not at all for 0 seconds."""
    if not seconds:
        yield
        return
    async with background(retention.run(seconds), name="retention"):
        yield
