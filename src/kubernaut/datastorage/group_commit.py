"""Group commit: requests that wait are written together, so that they share one transaction and one disk flush.

`append` puts a request into the queue and waits for its results. Each writer takes whatever waits as one group, has it
committed, and answers every request of the group. Groups are numbered by their predecessor: the ledger is appended to
in the order in which the groups were taken, also when two of them are being written at the same time.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from kubernaut.datastorage.append_plan import AppendRequest, AppendResult
from kubernaut.datastorage.errors import CannotStart, DatabaseUnavailable, QueueFull, Reason
from kubernaut.datastorage.metrics import Metrics

log = structlog.get_logger("datastorage")

MAX_GROUP_EVENTS = 800
"""Events after which a group takes no further request."""

SECOND_WRITER_THRESHOLD = 400
"""Events that must wait before a second group is written beside the first."""


@dataclass(kw_only=True, slots=True)
class PendingRequest:
    """A request and the future that gets its results."""

    request: AppendRequest
    results: asyncio.Future[list[AppendResult]]


@dataclass(kw_only=True, slots=True, eq=False)
class Group:
    """Requests that are written in one transaction."""

    pending: list[PendingRequest]
    event_ids: set[int]
    predecessor_done: asyncio.Event
    """Set when the group before this one is written; the ledger is appended to in that order."""

    is_optimistic: bool
    """Whether the payloads may be written before the ledger is locked."""

    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def requests(self) -> list[AppendRequest]:
        return [pending.request for pending in self.pending]


class Commit(Protocol):
    """Writes a group in one transaction: the results of each of its requests, or an error and nothing is stored."""

    async def __call__(self, writer: int, group: Group) -> list[list[AppendResult]]: ...


class GroupCommit:
    """The queue in front of the ledger. `run` is one writer; several may run."""

    def __init__(self, commit: Commit, max_waiting_events: int, metrics: Metrics) -> None:
        self._commit = commit
        self._max_waiting_events = max_waiting_events
        self._metrics = metrics
        self._pending: deque[PendingRequest] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._is_closing = False
        self._in_progress: set[Group] = set()
        self._last_done = asyncio.Event()
        self._last_done.set()

    async def append(self, request: AppendRequest) -> list[AppendResult]:
        """Wait until the request is written. Raises QueueFull, and what `commit` raised."""
        events = len(request.entries)
        if self._is_closing:
            raise DatabaseUnavailable("the store is shutting down", Reason.STOPPING)
        if self._pending and self._waiting_events + events > self._max_waiting_events:
            raise QueueFull(f"{self._waiting_events} events are waiting to be written")
        results: asyncio.Future[list[AppendResult]] = asyncio.get_running_loop().create_future()
        self._pending.append(PendingRequest(request=request, results=results))
        self._add_waiting(events)
        self._wake.set()
        return await results

    def close(self) -> None:
        """Take no further request. The writers end when nothing waits any more."""
        self._is_closing = True
        self._wake.set()

    async def run(self, writer: int) -> None:
        """Write one group after the other until the queue is closed and empty."""
        while self._pending or not self._is_closing:
            # Beside a group that is being written another one pays only when it is a large one; a small one would
            # cost a commit of its own, and the requests behind it would wait for two.
            if not self._pending or (self._in_progress and self._waiting_events < SECOND_WRITER_THRESHOLD):
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._take()
            try:
                await self._write(writer, group)
            except BaseException:
                _fail(group, DatabaseUnavailable("the store was stopped during the write", Reason.STOPPING))
                raise
            finally:
                self._in_progress.discard(group)
                group.done.set()
                self._wake.set()

    def _take(self) -> Group:
        taken: list[PendingRequest] = []
        ids: set[int] = set()
        events = 0
        while self._pending and (not taken or events + len(self._pending[0].request.entries) <= MAX_GROUP_EVENTS):
            pending = self._pending.popleft()
            taken.append(pending)
            events += len(pending.request.entries)
            ids.update([entry.event.event_id.int for entry in pending.request.entries])
        self._add_waiting(-events)
        # An event that another writer is storing would make us wait for it, and it for its turn behind us.
        is_optimistic = all(ids.isdisjoint(other.event_ids) for other in self._in_progress)
        group = Group(pending=taken, event_ids=ids, predecessor_done=self._last_done, is_optimistic=is_optimistic)
        self._last_done = group.done
        self._in_progress.add(group)
        return group

    async def _write(self, writer: int, group: Group) -> None:
        """Commit a group and answer each of its requests; never raises because of them."""
        try:
            results = await self._commit(writer, group)
        except (DatabaseUnavailable, CannotStart) as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - the loop outlives its groups; each request gets its answer
            if len(group.pending) == 1:
                log.error("append failed", error=repr(error))
                _fail(group, error)
                return
            # What PostgreSQL rejects of one request must not stand in the way of the others.
            for pending in group.pending:
                alone = Group(
                    pending=[pending],
                    event_ids=group.event_ids,
                    predecessor_done=group.predecessor_done,
                    is_optimistic=False,
                )
                await self._write(writer, alone)
        else:
            for pending, of_request in zip(group.pending, results, strict=True):
                if not pending.results.done():
                    pending.results.set_result(of_request)

    def _add_waiting(self, events: int) -> None:
        self._waiting_events += events
        self._metrics.waiting.set(self._waiting_events)


def _fail(group: Group, error: Exception) -> None:
    for pending in group.pending:
        if not pending.results.done():
            pending.results.set_exception(error)
