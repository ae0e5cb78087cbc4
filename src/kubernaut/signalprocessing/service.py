"""The controller as a service: what it opens, in order.

The trail comes first, because nothing may be decided that cannot be recorded; then the policy, without which nothing
can be decided; then the caches. No worker starts before every cache is filled.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from kubernaut.api.signals import SignalProcessing
from kubernaut.audit.config import AuditConfig, SpoolConfig
from kubernaut.audit.config import ClientConfig as StoreConfig
from kubernaut.audit.store import AuditStore, open_audit
from kubernaut.kube.client import Client, ClientConfig, ListOptions, open_client
from kubernaut.kube.controller import Controller, enqueue
from kubernaut.kube.events import EventRecorder, RecorderConfig, open_recorder
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key
from kubernaut.kube.queue import WorkQueue
from kubernaut.ops.health import Health
from kubernaut.ops.http.server import Listen, Server, open_server
from kubernaut.ops.metrics import new_registry
from kubernaut.ops.shutdown import stop_requested
from kubernaut.signalprocessing.cluster import ClusterReader, open_cluster
from kubernaut.signalprocessing.config import SignalProcessingConfig, listen
from kubernaut.signalprocessing.kinds import CONFIG_MAP, SIGNAL, ConfigMap
from kubernaut.signalprocessing.mapping import WatchedMapping
from kubernaut.signalprocessing.metrics import ProcessingMetrics
from kubernaut.signalprocessing.phases import Notice, Phases, Surroundings
from kubernaut.signalprocessing.policy.live import LivePolicy, changes_in, open_live_policy
from kubernaut.signalprocessing.reconciler import Reconciler
from kubernaut.signalprocessing.signal_mode import WatchedModes
from kubernaut.signalprocessing.trail import ACTOR

log = structlog.get_logger("signalprocessing")

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DRAIN = 5.0
"""Seconds that signals being worked on get to end at shutdown."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A controller that runs."""

    health: Server
    """Where `/healthz`, `/readyz` and `/metrics` are served."""
    namespace: str
    policy: LivePolicy
    controller: Controller[Key]
    store: AuditStore
    registry: CollectorRegistry

    async def ready(self) -> None:
        """Returns when the workers run."""
        await self.controller.started.wait()


async def run(config: SignalProcessingConfig) -> None:
    """Process signals until SIGTERM or SIGINT."""
    with stop_requested() as stop:
        async with open_service(config):
            await stop.wait()
            log.info("stopping")


@asynccontextmanager
async def open_service(config: SignalProcessingConfig) -> AsyncIterator[Service]:
    """The running controller.

    Raises PolicyError, SpoolLocked, PortInUse or Misconfigured when it cannot start; an API server or a DataStorage
    that is not there yet is waited for.
    """
    registry = new_registry("signalprocessing", version("kubernaut-signalprocessing"))
    metrics, kube_metrics = ProcessingMetrics(registry), KubeMetrics(registry)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        store = await enter(open_audit(_audit(config), "signalprocessing", registry))
        policy = await enter(open_live_policy(config.classifier, metrics.policy))
        modes = await enter(_open_modes(config.classifier.signal_modes))
        client = await enter(open_client(ClientConfig(kubeconfig=config.kubeconfig, field_manager=ACTOR)))
        namespace = _namespace(config, client)
        signals = Informer(client, SIGNAL, InformerConfig(options=ListOptions(namespace=namespace)))
        mapping, mappings = _mapping(client, namespace, config.classifier.environment_config_map)
        recorder = await enter(open_recorder(client, RecorderConfig(component=ACTOR), kube_metrics))
        gate = await enter(_open_gate(config.datastorage.health_url or f"{config.datastorage.url}/readyz"))
        caches: list[Informer[Any]] = [signals, mappings]
        server = await enter(_open_health(config, registry, caches, gate))
        reader = await enter(open_cluster(client, namespace, config.enrichment.cache_ttl))
        caches += reader.caches
        phases = _phases(config, reader, policy, mapping, modes, metrics)
        reconciler = Reconciler(
            _ClusterSignals(client, signals),
            phases,
            store,
            _announcer(recorder),
            metrics,
            events=config.controller.events,
        )
        queue = WorkQueue[Key]("signals", metrics=kube_metrics)
        signals.add_event_handler(enqueue(queue))
        controller = Controller(
            queue,
            reconciler.reconcile,
            workers=config.controller.workers,
            caches=caches,
            metrics=kube_metrics,
        )
        await enter(open_informers(signals, mappings))
        await enter(_running(controller, queue))
        log.info("controller runs", namespace=namespace, workers=config.controller.workers, health=server.url)
        yield Service(
            health=server, namespace=namespace, policy=policy, controller=controller, store=store, registry=registry
        )


class _ClusterSignals:
    """The signals of one namespace."""

    def __init__(self, client: Client, cache: Informer[SignalProcessing]) -> None:
        self._client = client
        self._cache = cache

    def known(self, key: Key) -> SignalProcessing | None:
        return self._cache.get(key)

    async def fresh(self, key: Key) -> SignalProcessing:
        signal = await self._client.get(SIGNAL, key)
        self._cache.observe(signal)
        return signal

    async def write(self, signal: SignalProcessing, change: dict[str, Any]) -> SignalProcessing:
        stored = await self._client.patch_status(SIGNAL, signal, change)
        # The next reconcile must not start from the state before this write.
        self._cache.observe(stored)
        return stored


class Gate:
    """Whether DataStorage answers, as a background probe last saw it."""

    def __init__(self) -> None:
        self.reason: str | None = "datastorage_not_probed"

    async def check(self) -> str | None:
        return self.reason

    async def probe(self, http: httpx2.AsyncClient, url: str) -> None:
        """Ask every few seconds, for ever."""
        while True:
            try:
                response = await http.get(url)
                self.reason = None if response.is_success else f"datastorage_answers_{response.status_code}"
            except httpx2.TransportError:
                self.reason = "datastorage_unreachable"
            await asyncio.sleep(1.0 if self.reason else 5.0)


@asynccontextmanager
async def _open_gate(url: str) -> AsyncIterator[Gate]:
    gate = Gate()
    async with httpx2.AsyncClient(timeout=10.0) as http, asyncio.TaskGroup() as tasks:
        probing = tasks.create_task(gate.probe(http, url), name="datastorage-gate")
        try:
            yield gate
        finally:
            probing.cancel()


@asynccontextmanager
async def _open_health(
    config: SignalProcessingConfig, registry: CollectorRegistry, caches: list[Informer[Any]], gate: Gate
) -> AsyncIterator[Server]:
    async def filled() -> str | None:
        return None if all(cache.synced.is_set() for cache in caches) else "caches_not_synced"

    health = Health({"caches": filled, "datastorage": gate.check})
    probe = listen(config.controller.health_probe_addr, config.controller.port_file)
    figures = listen(config.controller.metrics_addr)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(_serve(health, registry, probe))
        if _is_separate(figures, probe):
            await stack.enter_async_context(_serve(health, registry, figures))
        try:
            yield server
        finally:
            health.is_stopping = True


def _is_separate(figures: Listen, probe: Listen) -> bool:
    # On port 0 both would be random; one of them is enough then.
    return figures.port != 0 and (figures.host, figures.port) != (probe.host, probe.port)


@asynccontextmanager
async def _serve(health: Health, registry: CollectorRegistry, where: Listen) -> AsyncIterator[Server]:
    async with open_server(Starlette(routes=health.routes(registry)), where, shutdown_timeout=2.0) as server:
        yield server


@asynccontextmanager
async def _open_modes(path: Path | None) -> AsyncIterator[WatchedModes]:
    modes = WatchedModes(path)
    await asyncio.to_thread(modes.reload)

    async def follow() -> None:
        while path is not None:
            try:
                async for _ in changes_in(path.parent, every=30.0):
                    await asyncio.to_thread(modes.reload)
            except OSError as error:  # there is no such directory, and there may be one later
                log.debug("signal modes cannot be watched", error=str(error))
            await asyncio.sleep(30.0)

    async with asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(follow(), name="signal-modes")
        try:
            yield modes
        finally:
            follower.cancel()


@asynccontextmanager
async def _running(controller: Controller[Key], queue: WorkQueue[Key]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(controller.run(), name="controller")
        try:
            yield
        finally:
            queue.shutdown()
            if controller.started.is_set():
                await asyncio.wait([working], timeout=DRAIN)
            working.cancel()


def _phases(
    config: SignalProcessingConfig,
    reader: ClusterReader,
    policy: LivePolicy,
    mapping: WatchedMapping,
    modes: WatchedModes,
    metrics: ProcessingMetrics,
) -> Phases:
    around = Surroundings(
        reader=reader,
        policy=lambda: policy.current,
        mapping=lambda: mapping.current,
        modes=lambda: modes.current,
    )
    return Phases(
        around,
        metrics,
        enrichment_timeout=config.enrichment.timeout,
        on_policy_error=config.classifier.on_policy_error,
    )


def _mapping(client: Client, namespace: str, name: str) -> tuple[WatchedMapping, Informer[ConfigMap]]:
    mapping = WatchedMapping()
    only = ListOptions(namespace=namespace, field_selector=f"metadata.name={name}")
    cache = Informer(client, CONFIG_MAP, InformerConfig(options=only))
    cache.add_event_handler(mapping.changed)
    return mapping, cache


def _announcer(recorder: EventRecorder) -> Any:
    def announce(signal: SignalProcessing, notice: Notice) -> None:
        recorder.record(SIGNAL, signal, notice.reason, notice.message, warning=notice.is_warning)

    return announce


def _namespace(config: SignalProcessingConfig, client: Client) -> str:
    if config.controller.namespace:
        return config.controller.namespace
    if config.kubeconfig is None and SERVICE_ACCOUNT_NAMESPACE.is_file():
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
    return client.namespace


def _audit(config: SignalProcessingConfig) -> AuditConfig:
    store = config.datastorage
    return AuditConfig(
        spool=SpoolConfig(directory=store.spool_dir),
        client=replace(StoreConfig(), url=store.url, timeout=store.timeout),
        batch_size=store.buffer.batch_size,
        flush_interval=store.buffer.flush_interval,
        drain_timeout=store.drain_for,
    )
