"""A controller of each test's own, started as in production, on a real Kubernetes API and a real DataStorage."""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kubernaut.api.events import StoredEvent
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import Phase
from kubernaut.audit.client import DataStorageClient
from kubernaut.audit.client import open_client as open_store_client
from kubernaut.audit.config import ClientConfig as StoreClientConfig
from kubernaut.datastorage.config import DatabaseConfig, ServerConfig
from kubernaut.datastorage.config import DataStorageConfig as StoreConfig
from kubernaut.datastorage.service import open_service as open_datastorage
from kubernaut.kube.client import Client, ClientConfig, ListOptions, open_client
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.signalprocessing.config import (
    ClassifierConfig,
    ControllerConfig,
    DataStorageConfig,
    SignalProcessingConfig,
)
from kubernaut.signalprocessing.kinds import CACHED, CONFIG_MAP, REMEDIATION, SIGNAL
from kubernaut.signalprocessing.service import Service, open_service
from support.eventually import eventually
from support.signals import as_manifest

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cluster:
    """A namespace for signals and as many for their targets as a test wants."""

    client: Client
    kubeconfig: Path
    home: str
    """The controller's namespace."""

    def name(self, of: str) -> str:
        """A name that no other test uses."""
        return f"{of}-{self.home}"

    async def create(self, *manifests: Unstructured) -> list[Unstructured]:
        """Create objects of any kind the controller knows, with their status."""
        created = []
        for manifest in manifests:
            kind = _RAW[manifest["kind"]]
            obj = await self.client.create(kind, manifest)
            if "status" in manifest:
                where = Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
                obj = await self.client.patch(kind, where, {"status": manifest["status"]}, subresource="status")
            created.append(obj)
        return created

    async def patch(self, kind: str, where: Key, change: Unstructured, subresource: str = "") -> Unstructured:
        return await self.client.patch(_RAW[kind], where, change, subresource=subresource)

    async def delete(self, kind: str, where: Key) -> None:
        await self.client.delete(_RAW[kind], where)

    async def signal(self, signal: SignalProcessing) -> Key:
        """Raise a signal in the controller's namespace."""
        manifest = as_manifest(signal)
        manifest["metadata"]["namespace"] = self.home
        manifest["spec"]["remediationRequestRef"]["namespace"] = self.home
        await self.client.create(SIGNAL, manifest)
        return Key(self.home, signal.metadata.name)

    async def get(self, key: Key) -> SignalProcessing:
        return await self.client.get(SIGNAL, key)

    async def final(self, key: Key, *, timeout: float = 15.0) -> SignalProcessing:
        """The signal once it is Completed or Failed."""

        async def probe() -> SignalProcessing | None:
            signal = await self.get(key)
            return signal if signal.status.phase and signal.status.completion_time else None

        return await eventually(probe, timeout=timeout, description=f"{key} is final")

    async def completed(self, signal: SignalProcessing) -> SignalProcessing:
        """Raise a signal and wait for its end, which must be Completed."""
        done = await self.final(await self.signal(signal))
        assert done.status.phase is Phase.COMPLETED
        return done


_RAW: dict[str, Kind[Any]] = {kind.kind: kind.with_type(dict) for kind in (*CACHED, CONFIG_MAP, REMEDIATION, SIGNAL)}


@pytest.fixture
async def cluster(kubernetes_with_crds: Path) -> AsyncIterator[Cluster]:
    config = ClientConfig(kubeconfig=kubernetes_with_crds, field_manager="test")
    async with open_client(config) as client:
        home = f"sp-{os.getpid()}-{next(_numbers)}"
        namespace = {"metadata": {"name": home}}
        await client.create(_RAW["Namespace"], namespace)
        yield Cluster(client=client, kubeconfig=kubernetes_with_crds, home=home)
        await client.delete(_RAW["Namespace"], Key("", home))


@dataclass(frozen=True)
class Store:
    """A DataStorage and what stands in it."""

    url: str
    client: DataStorageClient

    async def events(self, correlation_id: str, count: int, *, timeout: float = 10.0) -> list[StoredEvent]:
        """The timeline once it holds so many events; it must not hold more."""

        async def probe() -> list[StoredEvent]:
            found = (await self.client.timeline(correlation_id)).events
            assert len(found) >= count, f"{len(found)} of {count} events: {[event.event_type for event in found]}"
            return found

        found = await eventually(probe, timeout=timeout)
        assert len(found) == count, [event.event_type for event in found]
        return found


@pytest.fixture
async def store(migrated_database: str) -> AsyncIterator[Store]:
    config = StoreConfig(
        server=ServerConfig(port=0, endpoint_propagation_delay=0, shutdown_timeout=2),
        database=DatabaseConfig.from_url(migrated_database),
    )
    async with (
        open_datastorage(config) as server,
        open_store_client(StoreClientConfig(url=server.url)) as client,
    ):
        yield Store(url=server.url, client=client)


Configured = Callable[..., SignalProcessingConfig]
Opened = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def configured(cluster: Cluster, store: Store, tmp_path: Path) -> Configured:
    """A configuration for this test; keywords go to the section that has them."""

    def make(spool: str = "spool", **classifier: Any) -> SignalProcessingConfig:
        controller = {key: classifier.pop(key) for key in ("events", "workers") if key in classifier}
        return SignalProcessingConfig(
            kubeconfig=cluster.kubeconfig,
            controller=ControllerConfig(
                metrics_addr="127.0.0.1:0",
                health_probe_addr="127.0.0.1:0",
                namespace=cluster.home,
                **controller,
            ),
            classifier=ClassifierConfig(**({"policy_dir": None, "signal_modes": None} | classifier)),
            datastorage=replace(DataStorageConfig(), url=store.url, spool_dir=tmp_path / spool, drain_timeout=5.0),
        )

    return make


@pytest.fixture
def open_controller(configured: Configured) -> Opened:
    """Start a controller the way production does, and wait until its workers run."""

    @asynccontextmanager
    async def opening(config: SignalProcessingConfig | None = None, **settings: Any) -> AsyncIterator[Service]:
        async with open_service(config or configured(**settings)) as service:
            await service.ready()
            yield service

    return opening


@pytest.fixture
async def controller(open_controller: Opened) -> AsyncIterator[Service]:
    async with open_controller() as service:
        yield service


ReadEvents = Callable[[Key], Awaitable[list[Unstructured]]]


@pytest.fixture
def kubernetes_events(cluster: Cluster) -> ReadEvents:
    """The Kubernetes Events about a signal, oldest first."""
    kind: Kind[Any] = Kind(version="v1", kind="Event", plural="events", type=dict)

    async def read(key: Key) -> list[Unstructured]:
        listing = await cluster.client.list(kind, ListOptions(namespace=key.namespace))
        about = [event for event in listing.items if event["involvedObject"]["name"] == key.name]
        return sorted(about, key=lambda event: int(event["metadata"]["resourceVersion"]))

    return read
