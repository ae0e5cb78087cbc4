"""A controller of each test's own, started as in production, on a real Kubernetes API and a real DataStorage."""

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubernaut.audit.client import open_client as open_store_client
from kubernaut.audit.config import ClientConfig as StoreClientConfig
from kubernaut.datastorage.config import DatabaseConfig, LedgerConfig, ServerConfig
from kubernaut.datastorage.config import DataStorageConfig as StoreConfig
from kubernaut.datastorage.service import open_service as open_datastorage
from kubernaut.embedded.secret_files import ensure_signing_key
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.objects import Key, Unstructured
from kubernaut.signalprocessing.config import (
    ClassifierConfig,
    ClusterConfig,
    ControllerConfig,
    DataStorageConfig,
    SignalProcessingConfig,
)
from kubernaut.signalprocessing.service import Service, open_service
from support.signalprocessing import RAW, Cluster, Store

ORIGIN = "controller.test/ledger"

_numbers = itertools.count(1)


@pytest.fixture
async def cluster(kubernetes_with_crds: Path) -> AsyncIterator[Cluster]:
    config = ClientConfig(kubeconfig=kubernetes_with_crds, field_manager="test")
    async with open_client(config) as client:
        home = f"sp-{os.getpid()}-{next(_numbers)}"
        namespace = {"metadata": {"name": home}}
        await client.create(RAW["Namespace"], namespace)
        yield Cluster(client=client, kubeconfig=kubernetes_with_crds, home=home)
        await client.delete(RAW["Namespace"], Key("", home))


@pytest.fixture
async def store(migrated_database: str, tmp_path: Path) -> AsyncIterator[Store]:
    config = StoreConfig(
        server=ServerConfig(port=0, endpoint_propagation_delay=0, shutdown_timeout=2),
        database=DatabaseConfig.from_url(migrated_database),
        ledger=LedgerConfig(key_file=ensure_signing_key(tmp_path / "ledger.key", ORIGIN), origin=ORIGIN),
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

    def make(spool: str = "spool", cluster_name: str = "", url: str = "", **classifier: Any) -> SignalProcessingConfig:
        controller = {key: classifier.pop(key) for key in ("events", "workers") if key in classifier}
        return SignalProcessingConfig(
            kubeconfig=classifier.pop("kubeconfig", cluster.kubeconfig),
            cluster=ClusterConfig(name=cluster_name),
            controller=ControllerConfig(
                metrics_addr="127.0.0.1:0",
                health_probe_addr="127.0.0.1:0",
                namespace=cluster.home,
                **controller,
            ),
            classifier=ClassifierConfig(**({"policy_dir": None, "signal_modes": None} | classifier)),
            datastorage=replace(
                DataStorageConfig(), url=url or store.url, spool_dir=tmp_path / spool, drain_timeout=5.0
            ),
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
    return cluster.events_about
