"""The gateway process: what it opens, in order; shutdown is that list read backwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import structlog

from kubernaut.api.problems import Slug
from kubernaut.api.remediation import RemediationRequest
from kubernaut.audit import open_audit
from kubernaut.gateway import cluster, request_store
from kubernaut.gateway.audit_recorder import AuditRecorder
from kubernaut.gateway.cluster import ClusterReader
from kubernaut.gateway.config import GatewayConfig, IntakeConfig
from kubernaut.gateway.endpoints import PROMETHEUS, Endpoints, application
from kubernaut.gateway.event_watch import EventWatch
from kubernaut.gateway.heartbeats import Heartbeats
from kubernaut.gateway.intake import Intake
from kubernaut.gateway.metrics import GatewayMetrics
from kubernaut.gateway.request_store import RequestStore
from kubernaut.gateway.signals import SignalMapper
from kubernaut.kube.authenticator import open_authenticator
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import KubeError
from kubernaut.kube.informer import Informer, open_informers
from kubernaut.ops.backoff import Backoff
from kubernaut.ops.health import PUBLIC_PATHS, Health
from kubernaut.ops.http.authentication import AccessRules, AuthenticationMiddleware, Permission
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.rate_limit import RateLimiter
from kubernaut.ops.http.server import Server, open_server
from kubernaut.ops.metrics import new_registry
from kubernaut.ops.shutdown import stop_requested
from kubernaut.ops.tasks import background

log = structlog.get_logger("gateway")

SERVICE = "gateway"
SERVICE_NAME = "gateway-service"
FIELD_MANAGER = "kubernaut-gateway"


async def run(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError, Misconfigured, SpoolLocked and PortInUse."""
    with stop_requested() as stop:
        async with open_service(config) as server:
            log.info("gateway listening", webhook=server.url + PROMETHEUS)
            await stop.wait()
            log.info("gateway stopping")


@asynccontextmanager
async def open_service(config: GatewayConfig) -> AsyncIterator[Server]:
    """The running gateway; it listens at once, and accepts alerts once every cache has synced.

    At the end: readiness off, notifications in flight processed, audit events delivered.
    """
    registry = new_registry(SERVICE, version("kubernaut-signalprocessing"))
    metrics = GatewayMetrics(registry)
    client_config = ClientConfig(
        kubeconfig=config.kubeconfig, field_manager=FIELD_MANAGER, write_qps=config.intake.max_writes_per_second
    )
    async with (
        open_authenticator(config.auth, config.server.host, SERVICE_NAME, config.kubeconfig) as authenticator,
        open_client(client_config) as client,
        open_audit(config.datastorage.audit(), SERVICE, registry) as audit,
    ):
        settings = replace(config.intake, namespace=config.intake.namespace or client.namespace)
        discovery = Discovery(client)
        object_caches = await cluster.new_caches(client)
        request_cache = request_store.new_cache(client, settings.namespace)
        requests = RequestStore(client, request_cache, settings)
        reader = ClusterReader(client, discovery, object_caches)
        mapper = SignalMapper(reader, requests, config.cluster, settings)
        intake = Intake(
            mapper, requests, AuditRecorder(audit, settings.max_remembered), Heartbeats(settings.ignore, registry)
        )
        caches: list[Informer[Any]] = [*object_caches, request_cache]
        discovered = asyncio.Event()

        def pending_caches() -> str | None:
            """The name of a cache that has not synced, or `discovery`; None when all have."""
            pending = next((cache.name for cache in caches if not cache.synced.is_set()), None)
            return pending or (None if discovered.is_set() else "discovery")

        async def caches_synced() -> str | None:
            pending = pending_caches()
            return f"waiting_for_{pending.replace(' ', '_')}" if pending else None

        health = Health({"caches": caches_synced})
        endpoints = Endpoints(intake, config.server, metrics, pending_caches)
        table = ConnectionTable(config.server.http_limits, registry)
        shutdown_timeout = config.server.shutdown_timeout
        rules = AccessRules(
            permission_for=lambda _, path: None if path in PUBLIC_PATHS else Permission.WRITE,
            rate_limiter=RateLimiter(config.auth.rate_limit),
            failure_limiter=RateLimiter(config.auth.failure_limit.rate_limit),
            # An Alertmanager drops a notification that is answered with 429.
            rate_limit_slug=Slug.UNAVAILABLE,
        )
        app = AuthenticationMiddleware(application(endpoints, health.routes(registry)), authenticator, rules)
        async with (
            open_informers(*caches),
            background(_warm_up(request_cache, intake, discovery, discovered), name="warm-up"),
            _watching_events(client, settings, intake, discovered),
            open_server(app, config.server.listen(), table=table, shutdown_timeout=shutdown_timeout) as server,
        ):
            try:
                yield server
            finally:
                health.is_stopping = True


@asynccontextmanager
async def _watching_events(
    client: Client, settings: IntakeConfig, intake: Intake, ready: asyncio.Event
) -> AsyncIterator[None]:
    """Take the Events of the cluster in while the block runs, where that is configured."""
    events = EventWatch(client, settings.namespace, settings.kubernetes_events, intake.process_event)

    async def run() -> None:
        await ready.wait()
        await events.run()

    if not settings.kubernetes_events.types:
        yield
    else:
        async with background(run(), name="kubernetes-events"):
            yield


async def _warm_up(
    request_cache: Informer[RemediationRequest], intake: Intake, discovery: Discovery, discovered: asyncio.Event
) -> None:
    """Record what an earlier process may have crashed before recording, and keep the server's kinds discovered.

    Discovery takes seconds on a large cluster; no alert shall wait for that.
    """
    await request_cache.synced.wait()
    intake.record_cached()
    backoff = Backoff(initial_delay=0.2, max_delay=10.0)
    attempt = 0
    while not discovered.is_set():
        try:
            await discovery.kinds_called("pod")
        except KubeError as error:
            attempt += 1
            log.warning("API discovery failed", error=str(error))
            await asyncio.sleep(backoff.delay(attempt))
        else:
            discovered.set()
    await discovery.keep_fresh()
