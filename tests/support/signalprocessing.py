"""A Kubernetes API and a DataStorage as tests of signal processing see them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernaut.api.events import StoredEvent
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import Phase
from kubernaut.audit.client import DataStorageClient
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.signalprocessing.kinds import CACHED, CONFIG_MAP, REMEDIATION, SIGNAL
from support.eventually import eventually
from support.signals import as_manifest


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
            kind = RAW[manifest["kind"]]
            obj = await self.client.create(kind, manifest)
            if "status" in manifest:
                where = Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
                obj = await self.client.patch(kind, where, {"status": manifest["status"]}, subresource="status")
            created.append(obj)
        return created

    async def patch(self, kind: str, where: Key, change: Unstructured, subresource: str = "") -> Unstructured:
        return await self.client.patch(RAW[kind], where, change, subresource=subresource)

    async def delete(self, kind: str, where: Key) -> None:
        await self.client.delete(RAW[kind], where)

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

    async def events_about(self, key: Key) -> list[Unstructured]:
        """The Kubernetes Events about an object, oldest first."""
        listing = await self.client.list(EVENT, ListOptions(namespace=key.namespace))
        about = [event for event in listing.items if event["involvedObject"]["name"] == key.name]
        return sorted(about, key=lambda event: int(event["metadata"]["resourceVersion"]))


EVENT: Kind[Any] = Kind(version="v1", kind="Event", plural="events", type=dict)
RAW: dict[str, Kind[Any]] = {kind.kind: kind.with_type(dict) for kind in (*CACHED, CONFIG_MAP, REMEDIATION, SIGNAL)}


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
