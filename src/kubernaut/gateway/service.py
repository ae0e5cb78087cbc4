"""The gateway process: what it opens, in order; shutdown is that list read backwards."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import structlog

from kubernaut.api.remediation import RemediationRequest
from kubernaut.audit import open_audit
from kubernaut.gateway.config import GatewayConfig
from kubernaut.gateway.endpoints import PROMETHEUS, Endpoints, application
from kubernaut.gateway.intake import INDEXES, Intake
from kubernaut.gateway.metrics import GatewayMetrics
from kubernaut.gateway.owners import BY_NAME, CACHED, Cluster
from kubernaut.gateway.requests import REQUESTS
from kubernaut.kube.client import ClientConfig, ListOptions, open_client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import KubeError
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.objects import PartialObjectMetadata
from kubernaut.ops.backoff import Backoff
from kubernaut.ops.health import Health
from kubernaut.ops.http.server import Server, open_server
from kubernaut.ops.metrics import new_registry
from kubernaut.ops.shutdown import stop_requested

log = structlog.get_logger("gateway")

SERVICE = "gateway"
FIELD_MANAGER = "kubernaut-gateway"


async def run(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises Misconfigured, SpoolLocked and PortInUse."""
    with stop_requested() as stop:
        async with open_service(config) as server:
            log.info("gateway listens", webhook=server.url + PROMETHEUS)
            await stop.wait()
            log.info("gateway stops")


@asynccontextmanager
async def open_service(config: GatewayConfig) -> AsyncIterator[Server]:
    """The running gateway; it listens at once, and takes alerts once every cache is filled.

    At the end: readiness off, notifications in flight answered, the trail flushed.
    """
    registry = new_registry(SERVICE, version("kubernaut-signalprocessing"))
    metrics = GatewayMetrics(registry)
    reach = ClientConfig(kubeconfig=config.kubeconfig, field_manager=FIELD_MANAGER)
    async with (
        open_client(reach) as client,
        open_audit(config.datastorage.audit(), SERVICE, registry) as store,
    ):
        caches = [Informer(client, kind, indexes={BY_NAME: _name_of}) for kind in CACHED]
        settings = replace(config.intake, namespace=config.intake.namespace or client.namespace)
        selection = ListOptions(namespace=settings.namespace)
        requests = Informer(client, REQUESTS, InformerConfig(options=selection), indexes=INDEXES)
        everything: list[Informer[Any]] = [*caches, requests]
        discovery = Discovery(client)
        intake = Intake(client, discovery, Cluster(client, discovery, caches), requests, store, settings)

        is_known = asyncio.Event()

        def late() -> str | None:
            """What is not known yet, first the caches."""
            late_cache = next((cache.name for cache in everything if not cache.synced.is_set()), None)
            return late_cache or (None if is_known.is_set() else "discovery")

        async def filled() -> str | None:
            name = late()
            return f"waiting_for_{name.replace(' ', '_')}" if name else None

        health = Health({"caches": filled})
        endpoints = Endpoints(intake, config.server, metrics, late)
        app = application(endpoints, health.routes(registry))
        async with (
            open_informers(*everything),
            _in_background(_prepare(requests, intake, discovery, is_known)),
            open_server(app, config.server.listen(), shutdown_timeout=config.server.drain_for) as server,
        ):
            try:
                yield server
            finally:
                health.is_stopping = True


async def _prepare(
    requests: Informer[RemediationRequest], intake: Intake, discovery: Discovery, is_known: asyncio.Event
) -> None:
    """Learn the server's kinds, which takes seconds on a large one; no alert shall wait for that.

    Once the requests are known, record what an earlier process may have died before recording.
    """
    await requests.synced.wait()
    intake.record_again()
    backoff = Backoff(initial_delay=0.2, max_delay=10.0)
    attempt = 0
    while not is_known.is_set():
        try:
            await discovery.kinds_by_singular_name()
        except KubeError as error:
            attempt += 1
            log.warning("the kinds of the cluster are not known yet", error=str(error))
            await asyncio.sleep(backoff.delay(attempt))
        else:
            is_known.set()


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work, name="prepare")
        try:
            yield
        finally:
            task.cancel()


def _name_of(obj: PartialObjectMetadata) -> list[str]:
    return [obj.metadata.name]
