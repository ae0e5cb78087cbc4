"""Whether the controller is ready, and the server that reports it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import structlog
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key
from kubernaut.kube.reachability import Reachability
from kubernaut.ops.health import Check, Health
from kubernaut.ops.http import answers
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.problems import application
from kubernaut.ops.http.server import Listen, Server, open_server
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.config import ControllerConfig, listen_address

log = structlog.get_logger("readiness")

PROBE_TIMEOUT = 10.0  # seconds
PROBE_INTERVAL = 5.0  # seconds
RETRY_INTERVAL = 1.0  # seconds, while DataStorage is not ready
FIRST_RETRY_INTERVAL = 0.05  # seconds; it grows up to RETRY_INTERVAL, because both often start at the same time
MAX_ANSWER = 2**20  # bytes
DRAIN_TIMEOUT = 2.0  # seconds
MAX_NAMES = 3
"""Caches that a reason names."""


class ReadinessProbe:
    """Whether DataStorage is ready, as of the last request; made by `open_readiness_probe`."""

    def __init__(self) -> None:
        self._reason: str | None = "datastorage_not_probed"
        self._is_logged = False

    async def check(self) -> str | None:
        return self._reason

    async def run(self, http: httpx2.AsyncClient, url: str) -> None:
        """Request the URL at an interval, until cancelled."""
        retry = FIRST_RETRY_INTERVAL
        while True:
            try:
                response = await answers.request(http, "GET", url, max_size=MAX_ANSWER)
                reason = None if response.is_success else f"datastorage_answers_{response.status_code}"
                self._note(reason, url, response.reason_phrase)
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # ValueError: no answer of HTTP
                self._note("datastorage_unreachable", url, str(error) or type(error).__name__)
            await asyncio.sleep(retry if self._reason else PROBE_INTERVAL)
            retry = min(1.2 * retry, RETRY_INTERVAL) if self._reason else FIRST_RETRY_INTERVAL

    def _note(self, reason: str | None, url: str, error: str) -> None:
        """Keep the reason, and log once that DataStorage is away and once that it is back."""
        self._reason = reason
        if reason and not self._is_logged:
            log.warning("DataStorage not ready, audit events wait on disk", url=url, reason=reason, error=error)
        elif self._is_logged and not reason:
            log.info("DataStorage ready", url=url)
        self._is_logged = bool(reason)


@asynccontextmanager
async def open_readiness_probe(url: str, tls: ssl.SSLContext | bool) -> AsyncIterator[ReadinessProbe]:
    """Probe a URL in the background while the block runs."""
    probe = ReadinessProbe()
    async with (
        httpx2.AsyncClient(timeout=PROBE_TIMEOUT, verify=tls, cookies=answers.no_cookies()) as http,
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
    degraded: Mapping[str, Callable[[], str | None]],
    reachability: Reachability,
    *,
    routes: Sequence[Route] = (),
) -> AsyncIterator[Server]:
    """The server of health and metrics, or two where the configuration names two addresses.

    `caches` is read at each request, so that more may be added. `overdue` tells the reconciles that exceed their limit,
    and `degraded` what is wrong without making the controller unready.
    `routes` are served beside them.
    """

    async def api_server_answers() -> str | None:
        since = reachability.since
        return f"api_server_unreachable_since_{since:%Y-%m-%dT%H:%M:%SZ}" if since else None

    async def caches_synced() -> str | None:
        pending = [cache.name for cache in caches if not cache.synced.is_set()]
        rejected = [name for name in pending if name in reachability.rejections]
        if rejected:
            return _reason("api_server_rejects_list_of", rejected)
        return _reason("caches_not_synced", pending) if pending else None

    async def reconciles_in_time() -> str | None:
        return next((f"reconcile_exceeds_time_limit:{key}" for key in overdue()), None)

    def checked(reason: Callable[[], str | None]) -> Check:
        async def check() -> str | None:
            return reason()

        return check

    # The first reason is the one that is shown, so that causes come before what follows from them.
    health = Health(
        {
            "api_server": api_server_answers,
            "caches": caches_synced,
            "datastorage": probe.check,
            "reconciles": reconciles_in_time,
        },
        degraded={name: checked(reason) for name, reason in degraded.items()},
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


def _reason(text: str, names: Sequence[str]) -> str:
    more = f"_and_{len(names) - MAX_NAMES}_more" if len(names) > MAX_NAMES else ""
    return f"{text}:{','.join(name.replace(' ', '_') for name in names[:MAX_NAMES])}{more}"


def _is_separate(metrics: Listen, health: Listen) -> bool:
    # On port 0 both would be random; one of them is enough then.
    return metrics.port != 0 and (metrics.host, metrics.port) != (health.host, health.port)
