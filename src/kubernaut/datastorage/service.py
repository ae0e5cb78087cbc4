"""The DataStorage process: what it opens, in order; shutdown is that list read backwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

import structlog
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from kubernaut.api.problems import Slug
from kubernaut.datastorage.actors import Actors
from kubernaut.datastorage.checkpointer import open_checkpointer
from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.datastorage.dead_letter.writer import open_writer
from kubernaut.datastorage.endpoints import Endpoints, application
from kubernaut.datastorage.errors import Reason
from kubernaut.datastorage.export_endpoint import ExportEndpoint
from kubernaut.datastorage.ledger_endpoints import LedgerEndpoints
from kubernaut.datastorage.legal_holds import LegalHolds
from kubernaut.datastorage.lifecycle_endpoints import LifecycleEndpoints
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.partitions import month_of, name_of
from kubernaut.datastorage.permissions import permission_for
from kubernaut.datastorage.retention import Retention, open_retention
from kubernaut.datastorage.scheduled_verification import open_scheduled_verification
from kubernaut.datastorage.signing_keys import SigningKeys
from kubernaut.datastorage.store import open_store
from kubernaut.datastorage.web.hold_pages import HoldPages
from kubernaut.datastorage.web.pages import Pages
from kubernaut.datastorage.web.sign_in import SignIn, TokenCookieMiddleware, rejection
from kubernaut.kube.authenticator import open_authenticator
from kubernaut.ops.garbage_collection import rare_collections
from kubernaut.ops.health import Health
from kubernaut.ops.http.authentication import AccessRules, AuthenticationMiddleware
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.rate_limit import RateLimiter
from kubernaut.ops.http.server import Listen, Server, open_server
from kubernaut.ops.http.tracing import TracingMiddleware
from kubernaut.ops.metrics import new_registry
from kubernaut.ops.shutdown import stop_requested
from kubernaut.ops.tracing import open_tracing

SERVICE_NAME = "data-storage-service"

log = structlog.get_logger("datastorage")


async def run(config: DataStorageConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotStart when PostgreSQL rejects the connection, and PortInUse."""
    with stop_requested() as stop:
        async with open_service(config) as server:
            log.info("datastorage server started", url=server.url)
            with rare_collections():
                await stop.wait()
            log.info("datastorage server stopping", delay=config.server.endpoint_propagation_delay)


@asynccontextmanager
async def open_service(config: DataStorageConfig) -> AsyncIterator[Server]:
    """The running service. At the end: readiness off, a pause for load balancers, requests drained, ledger written."""
    registry = new_registry("datastorage", version("kubernaut-signalprocessing"))
    metrics = Metrics(registry)
    listen = Listen(
        host=config.server.host, port=config.server.port, port_file=config.server.port_file, tls=config.server.tls
    )
    config.check_actors()
    lifecycle_metrics = LifecycleMetrics(registry)
    lifecycle_metrics.enabled.set(config.retention.enabled)
    async with (
        open_tracing(config.tracing, SERVICE_NAME) as tracer,
        open_authenticator(config.auth, listen.host, SERVICE_NAME, config.kubeconfig) as authenticator,
        open_store(config, metrics) as store,
        open_writer(store, config.dead_letter_queue, SigningKeys(config.ledger.key_file), registry) as writer,
        open_checkpointer(config.ledger, lambda: store.settings, store.read.ledger, metrics) as checkpointer,
        open_retention(Retention(config.database, config.retention, lifecycle_metrics), config.retention),
        open_scheduled_verification(store.read.verify, config.verification, registry),
    ):
        store.read.verification.public_keys = checkpointer.public_keys

        async def database() -> str | None:
            return await store.obstacle()

        async def storage() -> str | None:
            return None if writer.has_queue else await database()

        async def dead_letter_queue() -> str | None:
            return writer.queue_problem

        async def ledger() -> str | None:
            return "ledger_inconsistent" if checkpointer.inconsistent else None

        async def partitions() -> str | None:
            return Reason.PARTITION_MISSING if store.lost_months[-1:] >= [month_of(datetime.now(UTC))] else None

        async def old_partitions() -> str | None:
            names = ", ".join(name_of(month) for month in store.lost_months)
            return f"{Reason.PARTITION_MISSING}: {names}" if names else None

        async def foreign_objects() -> str | None:
            return "; ".join(map(str, store.foreign_objects)) or None

        health = Health(
            {"database": storage, "ledger": ledger, "partitions": partitions},
            # Events of all other months are stored, so that a missing one is no reason to send clients elsewhere.
            degraded={
                "database": database,
                "dead_letter_queue": dead_letter_queue,
                "partitions": old_partitions,
                "foreign_objects": foreign_objects,
            },
        )
        export = ExportEndpoint(store.read.export, store.read.ledger, checkpointer)
        ledger_endpoints = LedgerEndpoints(store.read.ledger, lambda: store.settings, checkpointer)
        holds = LegalHolds(database=config.database, metrics=lifecycle_metrics)
        forms = [*HoldPages(holds, authenticator).routes(), *SignIn(authenticator).routes()]
        endpoints = (
            Endpoints(store, writer, config.server, metrics, Actors(config.actors)),
            ledger_endpoints,
            LifecycleEndpoints(config.database, config.server, lifecycle_metrics, export),
            Pages(store.read, ledger_endpoints, checkpointer, config.ledger, forms),
        )
        routes: list[BaseRoute] = [route for each in endpoints for route in each.routes()]
        app = application([*routes, *health.routes(registry)], metrics)
        rules = AccessRules(
            permission_for=permission_for,
            rate_limiter=RateLimiter(config.auth.rate_limit),
            failure_limiter=RateLimiter(config.auth.failure_limit.rate_limit),
            rate_limit_slug=Slug.RATE_LIMIT,
            rejection=rejection,
        )
        guarded: ASGIApp = TokenCookieMiddleware(AuthenticationMiddleware(app, authenticator, rules))
        if tracer is not None:
            guarded = TracingMiddleware(guarded, tracer)
        table = ConnectionTable(config.server.http_limits, registry)
        timeout = config.server.shutdown_timeout
        async with open_server(guarded, listen, table=table, shutdown_timeout=timeout) as server:
            try:
                yield server
            finally:
                health.is_stopping = True
                await asyncio.sleep(config.server.endpoint_propagation_delay)
