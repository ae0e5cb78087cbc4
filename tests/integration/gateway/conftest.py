"""A gateway of each test's own, started as in production, on a real Kubernetes API, with a store double behind it."""

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.signals import SignalProcessing
from kubernaut.gateway.config import DataStorageConfig, GatewayConfig, IntakeConfig, ServerConfig
from kubernaut.gateway.requests import REQUESTS, SIGNALS
from kubernaut.gateway.service import open_service
from kubernaut.kube.client import Client, ClientConfig, ListOptions, open_client
from kubernaut.kube.errors import AlreadyExists
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata, Unstructured
from support.alerts import a_webhook
from support.audit import FakeDataStorage, open_fake_datastorage
from support.eventually import eventually
from support.kinds import NAMESPACE

_numbers = itertools.count(1)

WEBHOOK = "/api/v1/signals/prometheus"
_PLURALS = {
    "Pod": ("", "pods"),
    "Deployment": ("apps", "deployments"),
    "ReplicaSet": ("apps", "replicasets"),
    "Node": ("", "nodes"),
}


def kind_of(name: str, type: type = dict) -> Kind[Any]:
    group, plural = _PLURALS[name]
    return Kind(group=group, version="v1", kind=name, plural=plural, namespaced=name != "Node", type=type)


@dataclass(frozen=True)
class Cluster:
    """A namespace for signals, and one for their targets."""

    client: Client
    kubeconfig: Path
    home: str
    shop: str

    async def deployment(self, name: str) -> None:
        await self.client.create(kind_of("Deployment"), self._workload("apps/v1", "Deployment", name))

    async def pod(self, name: str, deployment: str = "") -> None:
        """A pod, owned by a ReplicaSet of that Deployment."""
        owners = []
        if deployment:
            owner = await self.client.get(kind_of("Deployment"), Key(self.shop, deployment))
            replicas = self._workload("apps/v1", "ReplicaSet", f"{deployment}-7d4b")
            replicas["metadata"]["ownerReferences"] = [_reference("Deployment", owner)]
            try:
                replicas = await self.client.create(kind_of("ReplicaSet"), replicas)
            except AlreadyExists:
                replicas = await self.client.get(kind_of("ReplicaSet"), Key(self.shop, f"{deployment}-7d4b"))
            owners = [_reference("ReplicaSet", replicas)]
        spec = {"containers": [{"name": "main", "image": "registry.example.com/shop:1"}]}
        metadata = {"name": name, "namespace": self.shop, "ownerReferences": owners}
        await self.client.create(kind_of("Pod"), {"metadata": metadata, "spec": spec})

    def _workload(self, api_version: str, kind: str, name: str) -> Unstructured:
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "registry.example.com/shop:1"}]},
        }
        return {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.shop},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }

    async def delete(self, kind: str, name: str) -> None:
        await self.client.delete(kind_of(kind), Key(self.shop, name))

    async def gone(self, kind: str, name: str) -> None:
        listing = await self.client.list(kind_of(kind, PartialObjectMetadata), ListOptions(namespace=self.shop))
        assert name not in [obj.metadata.name for obj in listing.items]

    async def requests(self) -> list[RemediationRequest]:
        return (await self.client.list(REQUESTS, ListOptions(namespace=self.home))).items

    async def signals(self) -> list[SignalProcessing]:
        return (await self.client.list(SIGNALS, ListOptions(namespace=self.home))).items

    async def only(self) -> RemediationRequest:
        (request,) = await self.requests()
        return request


def _reference(kind: str, owner: Unstructured) -> Unstructured:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


@asynccontextmanager
async def open_cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    config = ClientConfig(kubeconfig=kubeconfig, field_manager="test")
    async with open_client(config) as client:
        number = f"{os.getpid()}-{next(_numbers)}"
        for name in (f"gw-{number}", f"shop-{number}"):
            await client.create(NAMESPACE, {"metadata": {"name": name}})
        yield Cluster(client=client, kubeconfig=kubeconfig, home=f"gw-{number}", shop=f"shop-{number}")


@pytest.fixture
async def cluster(kubernetes_with_crds: Path) -> AsyncIterator[Cluster]:
    async with open_cluster(kubernetes_with_crds) as opened:
        yield opened
        for name in (opened.home, opened.shop):
            await opened.client.delete(NAMESPACE, Key("", name))


@pytest.fixture
async def store() -> AsyncIterator[FakeDataStorage]:
    async with open_fake_datastorage() as double:
        yield double


@dataclass(frozen=True)
class Gateway:
    """A gateway that is ready, and a client of it."""

    http: httpx2.AsyncClient

    async def post(self, *alerts: Unstructured, **changes: Any) -> httpx2.Response:
        return await self.http.post(WEBHOOK, json=a_webhook(*alerts, **changes))

    async def is_ready(self) -> bool:
        return (await self.http.get("/readyz")).status_code == 200


Opened = Callable[..., AbstractAsyncContextManager[Gateway]]


@asynccontextmanager
async def open_gateway(
    cluster: Cluster, store_url: str, spool: Path, *, timeout: float = 8.0, spool_max_size: int = 2**30, **intake: Any
) -> AsyncIterator[Gateway]:
    config = GatewayConfig(
        kubeconfig=cluster.kubeconfig,
        server=ServerConfig(host="127.0.0.1", port=0, shutdown_timeout=2, timeout=timeout),
        intake=IntakeConfig(namespace=cluster.home, **intake),
        datastorage=DataStorageConfig(url=store_url, spool_dir=spool, spool_max_size=spool_max_size, drain_timeout=2),
    )
    async with (
        open_service(config) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=20) as http,
    ):
        gateway = Gateway(http)
        await eventually(gateway.is_ready, description="the gateway is ready")
        yield gateway


@pytest.fixture
def opened(cluster: Cluster, store: FakeDataStorage, tmp_path: Path) -> Opened:
    """Start a gateway the way production does; each one of a test has a spool of its own."""
    spools = itertools.count(1)

    def opening(**intake: Any) -> AbstractAsyncContextManager[Gateway]:
        return open_gateway(cluster, store.url, tmp_path / f"spool-{next(spools)}", **intake)

    return opening


@pytest.fixture
async def gateway(opened: Opened) -> AsyncIterator[Gateway]:
    async with opened() as one:
        yield one
