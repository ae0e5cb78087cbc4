"""Whether the controller is ready, and the server that reports it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key
from kubernaut.ops.health import Health
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.problems import application
from kubernaut.ops.http.server import Listen, Server, open_server
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.config import ControllerConfig, listen_address

PROBE_TIMEOUT = 10.0  # seconds
PROBE_INTERVAL = 5.0  # seconds
RETRY_INTERVAL = 1.0  # seconds, while DataStorage is not ready
DRAIN_TIMEOUT = 2.0  # seconds


class ReadinessProbe:
    """Whether DataStorage is ready, as of the last request; made by `open_readiness_probe`."""

    def __init__(self) -> None:
        self._reason: str | None = "datastorage_not_probed"

    async def check(self) -> str | None:
        return self._reason

    async def run(self, http: httpx2.AsyncClient, url: str) -> None:
        """Request the URL at an interval, until cancelled."""
        while True:
            try:
                response = await http.get(url)
                self._reason = None if response.is_success else f"datastorage_answers_{response.status_code}"
            except httpx2.TransportError:
                self._reason = "datastorage_unreachable"
            await asyncio.sleep(RETRY_INTERVAL if self._reason else PROBE_INTERVAL)


@asynccontextmanager
async def open_readiness_probe(url: str, tls: ssl.SSLContext | bool) -> AsyncIterator[ReadinessProbe]:
    """Probe a URL in the background while the block runs."""
    probe = ReadinessProbe()
    async with (
        httpx2.AsyncClient(timeout=PROBE_TIMEOUT, verify=tls) as http,
        background(probe.run(http, url), name="readiness-probe"),
    ):
        yield probe


@asynccontextmanager
async def open_health_server(
    config: ControllerConfig,
    registry: CollectorRegistry,
    caches: Sequence[Informer[Any]],
    probe: ReadinessProbe,
    overdue: Callable[[], Sequence[Key]],
    policy_rejection: Callable[[], str | None],
    *,
    routes: Sequence[Route] = (),
) -> AsyncIterator[Server]:
    """The server of health and metrics, or two where the configuration names two addresses.

    `caches` is read at each request, so that more may be added. `overdue` tells the reconciles that exceed their limit,
    `policy_rejection` why the newest policy does not decide, which makes the controller degraded and not unready.
    `routes` are served beside them.
    """

    async def caches_synced() -> str | None:
        return None if all(cache.synced.is_set() for cache in caches) else "caches_not_synced"

    async def reconciles_in_time() -> str | None:
        return next((f"reconcile_exceeds_time_limit:{key}" for key in overdue()), None)

    async def newest_policy_decides() -> str | None:
        return policy_rejection()

    health = Health(
        {"caches": caches_synced, "datastorage": probe.check, "reconciles": reconciles_in_time},
        degraded={"policy": newest_policy_decides},
    )
    health_address = listen_address(config.health_probe_addr, config.port_file)
    metrics_address = listen_address(config.metrics_addr)
    app = application([*health.routes(registry), *routes])
    table = ConnectionTable(config.http_limits, registry)
    serve = partial(open_server, app, table=table, shutdown_timeout=DRAIN_TIMEOUT)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(health_address))
        if _is_separate(metrics_address, health_address):
            await stack.enter_async_context(serve(metrics_address))
        try:
            yield server
        finally:
            health.is_stopping = True


def _is_separate(metrics: Listen, health: Listen) -> bool:
    # On port 0 both would be random; one of them is enough then.
    return metrics.port != 0 and (metrics.host, metrics.port) != (health.host, health.port)
