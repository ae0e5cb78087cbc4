"""Health, readiness and metrics over HTTP, under the names of both generations of the Go project."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubernaut.ops.metrics import CONTENT_TYPE, exposition

Check = Callable[[], Awaitable[str | None]]
"""The reason why it is not ready, in words with underscores (`database_unreachable`), or None when it is."""

LIVE = ("/livez", "/healthz", "/health/live")
READY = ("/readyz", "/health", "/health/ready")
METRICS = "/metrics"

PUBLIC_PATHS = frozenset((*LIVE, *READY, METRICS))
"""What kubelets and Prometheus read without a token."""


class Health:
    """Liveness and readiness of a service; `is_stopping` turns readiness off and keeps liveness on."""

    def __init__(
        self, checks: Mapping[str, Check], *, degraded: Mapping[str, Check] | None = None, timeout: float = 2.0
    ) -> None:
        self._checks = dict(checks)
        self._degraded = dict(degraded or {})
        self._timeout = timeout
        self.is_stopping = False

    async def not_ready(self) -> dict[str, str]:
        """Every check that fails, with its reason; empty when ready."""
        if self.is_stopping:
            return {"shutdown": "shutting_down"}
        return await self._failing(self._checks)

    async def degraded(self) -> dict[str, str]:
        """Every check that fails without a loss of service, with its reason."""
        return await self._failing(self._degraded)

    async def _failing(self, checks: Mapping[str, Check]) -> dict[str, str]:
        reasons = await asyncio.gather(*(self._reason(check) for check in checks.values()))
        return {name: reason for name, reason in zip(checks, reasons, strict=True) if reason}

    async def _reason(self, check: Check) -> str | None:
        try:
            return await asyncio.wait_for(check(), self._timeout)
        except TimeoutError:
            return "timed_out"

    def routes(self, registry: CollectorRegistry | None = None) -> list[Route]:
        """The paths of both generations and, with a registry, `/metrics`."""

        async def live(_: Request) -> Response:
            return JSONResponse({"status": "alive"})

        async def ready(request: Request) -> Response:
            failing = await self.not_ready()
            if not failing:
                degraded = await self.degraded()
                return JSONResponse({"status": "ready"} | ({"degraded": degraded} if degraded else {}))
            request.state.rejected = "not-ready"
            request.state.cause = ", ".join(f"{name}: {reason}" for name, reason in failing.items())
            body = {"status": "not_ready", "reason": next(iter(failing.values())), "checks": failing}
            return JSONResponse(body, status_code=503)

        async def metrics(_: Request) -> Response:
            return Response(exposition(registry) if registry else b"", media_type=CONTENT_TYPE)

        routes = [Route(path, live) for path in LIVE]
        routes += [Route(path, ready) for path in READY]
        return [*routes, Route(METRICS, metrics)] if registry else routes
