"""The open signals of a cluster, kept up to date, and what cannot be reached."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernaut.api.remediation import REMEDIATION_KIND, REMEDIATION_PLURAL, RemediationRequest
from kubernaut.api.signals import GROUP, KIND, PLURAL, VERSION, SignalProcessing
from kubernaut.api.summaries import is_in
from kubernaut.audit import AuditError, DataStorageClient
from kubernaut.audit.errors import StoreUnauthorized
from kubernaut.kube.client import EVERYTHING, Client, ListOptions
from kubernaut.kube.errors import Forbidden
from kubernaut.kube.informer import Informer, InformerConfig, may_list, open_informers
from kubernaut.kube.objects import Key, Kind
from kubernaut.oncall.board import OpenSignal, is_open
from kubernaut.ops.tasks import background

SIGNAL = Kind(group=GROUP, version=VERSION, kind=KIND, plural=PLURAL, type=SignalProcessing)
REQUEST = Kind(group=GROUP, version=VERSION, kind=REMEDIATION_KIND, plural=REMEDIATION_PLURAL, type=RemediationRequest)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Something that does not answer, or answers only that it refuses."""

    what: str
    since: datetime
    reason: str
    is_refusal: bool = False


class Changes:
    """Counts changes, and wakes those who wait for the next one."""

    def __init__(self) -> None:
        self.number = 0
        self.is_closed = False
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Something on the page is no longer what it was."""
        self.number += 1
        self._event.set()
        self._event = asyncio.Event()

    def close(self) -> None:
        """There will be no more changes; nobody waits any longer."""
        self.is_closed = True
        self._event.set()

    async def wait(self, seen: int) -> None:
        """Return once there are changes after the `seen`-th."""
        while self.number == seen and not self.is_closed:
            await self._event.wait()


class Source:
    """What one person may read of signals and their requests."""

    def __init__(
        self,
        client: Client,
        store: DataStorageClient,
        signals: Informer[SignalProcessing],
        requests: Informer[RemediationRequest] | None,
        namespace: str | None,
    ) -> None:
        """`requests` is None where they may not be listed."""
        self.changes = Changes()
        self._client = client
        self._store = store
        self._signals = signals
        self._requests = requests
        self._namespace = namespace
        self._store_outage: Outage | None = None
        signals.add_event_handler(lambda _old, _new: self.changes.notify())
        if requests is not None:
            requests.add_event_handler(lambda _old, _new: self.changes.notify())

    @property
    def is_complete(self) -> bool:
        """Whether everything that existed at the start has been read."""
        return self._signals.synced.is_set() and (self._requests is None or self._requests.synced.is_set())

    @property
    def knows_requests(self) -> bool:
        """Whether occurrences and resolve notices can be read."""
        return self._requests is not None

    def open_signals(self) -> list[OpenSignal]:
        """Those of the namespace whose alerts are not resolved."""
        found = []
        for signal in self._signals.list():
            reference = signal.spec.remediation_request_ref
            key = Key(reference.namespace or signal.metadata.namespace, reference.name)
            request = self._requests.get(key) if self._requests is not None else None
            if is_in(signal, self._namespace) and is_open(signal, request):
                found.append(OpenSignal(signal=signal, request=request))
        return found

    def outages(self) -> list[Outage]:
        """What does not answer at the moment, and since when."""
        found = []
        reachability = self._client.reachability
        if reachability.since is not None:
            reason = "The list is as it was then, and goes on by itself."
            found.append(Outage(what="The Kubernetes API", since=reachability.since, reason=reason))
        if self._store_outage is not None:
            found.append(self._store_outage)
        return found

    def rejections(self) -> list[str]:
        """What the Kubernetes API refuses although it answers."""
        return [f"{name}: {error}" for name, error in sorted(self._client.reachability.rejections.items())]

    async def check(self, store_interval: float, interval: float) -> None:
        """Notice outages, for ever; DataStorage is asked every `store_interval` seconds."""
        loop, asked_at, known = asyncio.get_running_loop(), -float("inf"), None
        while True:
            if loop.time() - asked_at >= store_interval:
                asked_at = loop.time()
                await self._ask_store()
            state = (self.outages(), self.rejections(), self.is_complete)
            if state != known:
                known = state
                self.changes.notify()
            await asyncio.sleep(interval)

    async def _ask_store(self) -> None:
        try:
            await self._store.query({"limit": 1})
        except AuditError as error:
            is_refusal = isinstance(error, StoreUnauthorized)
            before = self._store_outage
            since = before.since if before and before.is_refusal is is_refusal else datetime.now(UTC)
            self._store_outage = Outage(what="DataStorage", since=since, reason=str(error), is_refusal=is_refusal)
        else:
            self._store_outage = None


@asynccontextmanager
async def open_source(
    client: Client, store: DataStorageClient, namespace: str | None, *, store_interval: float = 10.0
) -> AsyncIterator[Source]:
    """Read signals inside the block. Raises KubeError when they may not be listed or the cluster is out of reach.

    Who may not list the signals of all namespaces gets those that are in `namespace`.
    """
    options = EVERYTHING
    try:
        await client.get_raw(SIGNAL.collection(), {"limit": "1"})
    except Forbidden:
        if namespace is None:
            raise
        options = ListOptions(namespace=namespace)
        await client.get_raw(SIGNAL.collection(namespace), {"limit": "1"})
    config = InformerConfig(options=options)
    signals = Informer(client, SIGNAL, config)
    requests = Informer(client, REQUEST, config) if await may_list(client, REQUEST, options) else None
    source = Source(client, store, signals, requests, namespace)
    informers: list[Informer[Any]] = [signals] if requests is None else [signals, requests]
    async with open_informers(*informers), background(source.check(store_interval, 1.0), "check outages"):
        try:
            yield source
        finally:
            source.changes.close()
