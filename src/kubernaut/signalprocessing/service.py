"""The controller as a service: what it opens, in order.

The audit store comes first, because nothing may be decided that cannot be recorded; then the policy, without which
nothing can be decided; then the caches. No worker starts before every cache has synced.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from kubernaut.api.meta import ObjectMeta
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import EventReason
from kubernaut.audit.config import AuditConfig, SpoolConfig
from kubernaut.audit.config import ClientConfig as StoreConfig
from kubernaut.audit.store import AuditStore, open_audit
from kubernaut.kube.client import Client, ClientConfig, ListOptions, open_client
from kubernaut.kube.controller import Controller, enqueue
from kubernaut.kube.election import Election
from kubernaut.kube.events import EventRecorder, RecorderConfig, open_recorder
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from kubernaut.kube.queue import WorkQueue
from kubernaut.kube.wire import UndecodableHandler
from kubernaut.ops import logs, redaction
from kubernaut.ops.http.server import Server
from kubernaut.ops.reload import reload_requested
from kubernaut.ops.shutdown import stop_requested
from kubernaut.signalprocessing.audit_events import ACTOR
from kubernaut.signalprocessing.cluster import open_cluster_reader
from kubernaut.signalprocessing.config import SignalProcessingConfig
from kubernaut.signalprocessing.environment_mapping import WatchedEnvironmentMapping
from kubernaut.signalprocessing.kinds import CONFIG_MAP, REMEDIATION, SIGNAL, ConfigMap
from kubernaut.signalprocessing.kubernetes_events import EventPublisher, KubernetesEvent, Record
from kubernaut.signalprocessing.leading import Leading, new_election, open_leading
from kubernaut.signalprocessing.phases import Dependencies, Phases
from kubernaut.signalprocessing.policy.archive import PolicyArchive
from kubernaut.signalprocessing.policy.live import LivePolicy, open_live_policy
from kubernaut.signalprocessing.policy.replicas import OtherReplicas
from kubernaut.signalprocessing.policy.shadow import open_shadow
from kubernaut.signalprocessing.policy.shadow_endpoint import shadow_routes
from kubernaut.signalprocessing.policy_trail import PolicyTrail, open_policy_trail
from kubernaut.signalprocessing.readiness import open_health_server, open_readiness_probe
from kubernaut.signalprocessing.reconciler import Reconciler
from kubernaut.signalprocessing.registry import new_metrics
from kubernaut.signalprocessing.retention import Retention
from kubernaut.signalprocessing.signal_client import CachedSignalClient
from kubernaut.signalprocessing.signal_mode import WatchedSignalModes, open_signal_modes
from kubernaut.signalprocessing.sinks.dispatch import SinkDispatcher

log = structlog.get_logger("signalprocessing")

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running controller."""

    health: Server
    """Where `/healthz`, `/readyz` and `/metrics` are served."""
    namespace: str
    policy: LivePolicy
    controller: Controller[Key]
    election: Election | None
    """None where this replica leads alone."""
    store: AuditStore
    registry: CollectorRegistry

    signal_modes: WatchedSignalModes
    config: SignalProcessingConfig

    async def ready(self) -> None:
        """Returns when the workers run."""
        await self.controller.started.wait()

    async def reload(self, config: SignalProcessingConfig) -> None:
        """Take the log level and rate of another configuration, and read policy and signal modes again."""
        logs.set_level(config.logging.level, config.logging.max_lines_per_second)
        await asyncio.to_thread(self.signal_modes.reload)
        await self.policy.reload()
        needs_restart = changed_sections(self.config, config)
        log.info("configuration reloaded", level=config.logging.level, needs_restart=needs_restart or None)


async def run(config: SignalProcessingConfig, read_config: Callable[[], SignalProcessingConfig] | None = None) -> None:
    """Process signals until SIGTERM or SIGINT; on SIGHUP read again what can be changed while it runs."""
    opened: asyncio.Future[Service] = asyncio.get_running_loop().create_future()

    async def reload() -> None:
        service = await opened  # a SIGHUP that comes while it starts is not lost
        await service.reload(config if read_config is None else await asyncio.to_thread(read_config))

    with stop_requested() as stop:
        async with reload_requested(reload), open_service(config) as service:
            opened.set_result(service)
            await stop.wait()
            log.info("controller stopping")


@asynccontextmanager
async def open_service(config: SignalProcessingConfig) -> AsyncIterator[Service]:
    """The running controller.

    Raises PolicyError, SpoolLocked, PortInUse or Misconfigured when it cannot start; an API server or a DataStorage
    that is not there yet is waited for.
    """
    metrics = new_metrics()
    registry, kube_metrics = metrics.registry, metrics.kube
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        store = await enter(open_audit(_audit(config), "signalprocessing", registry))
        policy = await enter(open_live_policy(config.classifier, metrics.policy, _archive(config)))
        replicas = OtherReplicas(policy, metrics.policy)
        shadowed = await enter(open_shadow(policy, config.classifier, metrics.shadow))
        signal_modes = await enter(open_signal_modes(config.classifier.signal_modes))
        unlimited = ClientConfig(kubeconfig=config.kubeconfig, field_manager=ACTOR)
        client = await enter(open_client(replace(unlimited, write_qps=config.controller.max_writes_per_second)))
        namespace = _namespace(config, client)
        signals = Informer(client, SIGNAL, InformerConfig(options=ListOptions(namespace=namespace)))
        environments, config_map = _environment_mapping(client, namespace, config.classifier.environment_config_map)
        recorder = await enter(open_recorder(client, RecorderConfig(component=ACTOR), kube_metrics))
        client.on_undecodable = report_with(recorder, kube_metrics)
        await enter(_open_policy_trail(config, policy, store, recorder, namespace))
        probe = await enter(
            open_readiness_probe(
                config.datastorage.health_url or f"{config.datastorage.url}/readyz", _store(config).tls_verification()
            )
        )
        caches: list[Informer[Any]] = [signals, config_map]
        controllers: list[Controller[Key]] = []
        server = await enter(
            open_health_server(
                config.controller,
                registry,
                caches,
                probe,
                lambda: [key for each in controllers for key in each.overdue()],
                {"policy": lambda: policy.rejection, "replicas": lambda: replicas.difference},
                client.reachability,
                routes=shadow_routes(shadowed) if shadowed else (),
            )
        )
        reader = await enter(open_cluster_reader(client, namespace, config.enrichment.cache_ttl))
        caches += reader.caches
        for cache in caches:
            kube_metrics.watch_cache(cache)
        dependencies = Dependencies(
            reader=reader,
            policy=shadowed or policy,
            environments=lambda: environments.current,
            signal_modes=lambda: signal_modes.current,
            cluster=config.cluster.name,
            cluster_labels=config.cluster.labels_of,
        )
        metrics.decisions.watch(signals.list)
        reconciler = Reconciler(
            CachedSignalClient(client, signals),
            _phases(config, dependencies),
            store,
            EventPublisher(_record_with(recorder), config.controller.events),
            metrics.processing,
            decisions=metrics.decisions,
            adds_finalizer=config.controller.add_finalizer,
        )
        queue = WorkQueue[Key]("signals", metrics=kube_metrics)
        signals.add_event_handler(enqueue(queue))
        signals.add_event_handler(replicas.on_change)
        controller = Controller(
            queue,
            reconciler.reconcile,
            workers=config.controller.workers,
            caches=caches,
            metrics=kube_metrics,
        )
        controllers.append(controller)
        await enter(open_informers(signals, config_map))
        retention = Retention(client, signals, reader.informer_of(REMEDIATION), reconciler, metrics.retention)
        # Of its own: a lease that waits behind other writes is lost.
        election_client = await enter(open_client(unlimited))
        election = new_election(config.controller, election_client, namespace, kube_metrics)
        sinks = SinkDispatcher(config, signals, metrics.sinks)
        leading = Leading(controller, queue, signals, retention, config.controller.retention, sinks)
        await enter(open_leading(leading, election, caches))
        log.info("controller started", namespace=namespace, workers=config.controller.workers, health=server.url)
        yield Service(
            health=server,
            namespace=namespace,
            policy=policy,
            controller=controller,
            election=election,
            store=store,
            registry=registry,
            signal_modes=signal_modes,
            config=config,
        )


def changed_sections(old: SignalProcessingConfig, new: SignalProcessingConfig) -> list[str]:
    """The sections in which two configurations differ, but for what is taken over while the process runs."""
    new = replace(new, logging=replace(old.logging, format=new.logging.format))
    return [field.name for field in fields(old) if getattr(old, field.name) != getattr(new, field.name)]


def _archive(config: SignalProcessingConfig) -> PolicyArchive:
    spool = config.datastorage.spool_dir
    return PolicyArchive(config.classifier.archive_dir or spool.with_name(f"{spool.name}-policies"))


def _open_policy_trail(
    config: SignalProcessingConfig, policy: LivePolicy, store: AuditStore, recorder: EventRecorder, namespace: str
) -> AbstractAsyncContextManager[None]:
    name = config.classifier.rego_config_map_name
    about = ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace))

    def record(event: KubernetesEvent) -> None:
        recorder.record(CONFIG_MAP, about, event.reason, event.message, warning=event.is_warning)

    return open_policy_trail(PolicyTrail(policy, store, record, replica=socket.gethostname(), name=name))


def _phases(config: SignalProcessingConfig, dependencies: Dependencies) -> Phases:
    return Phases(
        dependencies,
        enrichment_timeout=config.enrichment.timeout,
        on_policy_error=config.classifier.on_policy_error,
    )


def _environment_mapping(
    client: Client, namespace: str, name: str
) -> tuple[WatchedEnvironmentMapping, Informer[ConfigMap]]:
    mapping = WatchedEnvironmentMapping()
    selection = ListOptions(namespace=namespace, field_selector=f"metadata.name={name}")
    config_map = Informer(client, CONFIG_MAP, InformerConfig(options=selection))
    config_map.add_event_handler(mapping.on_change)
    return mapping, config_map


def _record_with(recorder: EventRecorder) -> Record:
    def record(signal: SignalProcessing, event: KubernetesEvent) -> None:
        recorder.record(SIGNAL, signal, event.reason, event.message, warning=event.is_warning)

    return record


def report_with(recorder: EventRecorder, metrics: KubeMetrics) -> UndecodableHandler:
    """Counts objects that do not decode, and tells on a signal that it is one."""

    def report(kind: Kind[Any], obj: PartialObjectMetadata, reason: str) -> None:
        metrics.undecodable.labels(str(kind)).inc()
        if kind is SIGNAL:
            text = f"The object cannot be read and is not processed: {reason}. Correct or delete it"
            recorder.record(kind, obj, EventReason.SIGNAL_UNREADABLE, redaction.redact(text), warning=True)

    return report


def _namespace(config: SignalProcessingConfig, client: Client) -> str:
    if config.controller.namespace:
        return config.controller.namespace
    if config.kubeconfig is None and SERVICE_ACCOUNT_NAMESPACE.is_file():
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
    return client.namespace


def _store(config: SignalProcessingConfig) -> StoreConfig:
    store = config.datastorage
    return replace(
        StoreConfig(), url=store.url, timeout=store.timeout, token_file=store.token_file, ca_file=store.ca_file
    )


def _audit(config: SignalProcessingConfig) -> AuditConfig:
    store = config.datastorage
    return AuditConfig(
        spool=SpoolConfig(directory=store.spool_dir),
        client=_store(config),
        batch_size=store.buffer.batch_size,
        flush_interval=store.buffer.flush_interval,
        drain_timeout=store.drain_timeout,
    )
