"""The webhook. 2xx means that every firing alert is stored or folded; anything less is a 503 that is sent again."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TypeVar

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kubernaut.api.problems import Slug
from kubernaut.gateway import kubernetes_events
from kubernaut.gateway.admission import AdmissionQueue, Busy
from kubernaut.gateway.alertmanager import SOURCE, InvalidWebhook, Webhook
from kubernaut.gateway.bodies import AlertBodyReader
from kubernaut.gateway.config import ServerConfig
from kubernaut.gateway.decoder import decode_all
from kubernaut.gateway.intake import Intake
from kubernaut.gateway.metrics import GatewayMetrics
from kubernaut.gateway.responses import Reason, Result, ResultStatus, batch_response, signal_response
from kubernaut.ops.http import problems
from kubernaut.ops.http.authentication import Identity
from kubernaut.ops.http.problems import RequestRejected, json_response, problem_response
from kubernaut.ops.redaction import redact

T = TypeVar("T")
log = structlog.get_logger("gateway")

PROMETHEUS = "/api/v1/signals/prometheus"
KUBERNETES_EVENT = "/api/v1/signals/kubernetes-event"
RETRY_AFTER = 5
"""Seconds after which a notification that was not stored should come again."""

MAX_ALERT_LINES = 20
"""Lines about single alerts in the log, of one notification."""

MAX_GROUP_LENGTH = 200

MAX_DECODED_AT_ONCE = 2**16
"""Bytes of a body that is decoded without a thread."""

_NOT_STORED = "Some alerts are not stored"


class Endpoints:
    """The webhook over one intake."""

    def __init__(
        self,
        intake: Intake,
        config: ServerConfig,
        metrics: GatewayMetrics,
        pending_caches: Callable[[], str | None],
    ) -> None:
        """`pending_caches` names a cache that has not synced yet; None when all have."""
        self._intake = intake
        self._config = config
        self._metrics = metrics
        self._pending_caches = pending_caches
        self._admission = AdmissionQueue()
        metrics.watch_waiting(self._admission.__len__)
        self._body = AlertBodyReader(config.max_body_size)

    async def prometheus(self, request: Request) -> Response:
        """One notification of an Alertmanager."""
        return await self._observed(request, PROMETHEUS, self._process)

    async def kubernetes_event(self, request: Request) -> Response:
        """One Event of core/v1."""
        return await self._observed(request, KUBERNETES_EVENT, self._process_event)

    async def _observed(
        self, request: Request, path: str, process: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        try:
            response = await process(request)
        except RequestRejected as rejected:
            response = problem_response(request, rejected)
        self._metrics.observe_request(path, response.status_code, time.perf_counter() - started)
        return response

    async def _process_event(self, request: Request) -> Response:
        body = await self._body.read(request)
        try:
            event = await _decoded(kubernetes_events.decode, body)
        except kubernetes_events.InvalidEvent as error:
            raise RequestRejected(Slug.VALIDATION, str(error), {"$": str(error)}, title="Not an Event") from error
        self._check_timestamp(request.headers.get("x-timestamp"))
        self._check_pending()
        if reason := kubernetes_events.rejection_of(event):
            result = Result(status=ResultStatus.REJECTED, name=event.reason, message=reason, reason=Reason.INVALID)
        else:
            try:
                async with (
                    asyncio.timeout(self._config.timeout),
                    self._admission.admitted(_sender(request), len(body), self._config.timeout / 2),
                ):
                    result = await self._intake.process_event(event)
            except (Busy, TimeoutError) as error:
                reason = str(error) or "the Kubernetes API did not answer in time"
                raise _unavailable(f"{reason}; send it again") from None
        self._metrics.count_results(kubernetes_events.SOURCE, _sender(request), [result], 0)
        return _response(request, [result], 0)

    def _check_pending(self) -> None:
        pending = self._pending_caches()
        if pending is not None:
            raise _unavailable(f"the gateway is starting and waits for {pending}; send it again")

    async def _process(self, request: Request) -> Response:
        body = await self._body.read(request)
        try:
            webhooks = await _decoded(decode_all, body)
        except InvalidWebhook as error:
            detail, errors = f"{error.path}: {error}", {error.path: str(error)}
            title = "Not an Alertmanager notification"
            raise RequestRejected(Slug.VALIDATION, detail, errors, title=title) from error
        self._check_timestamp(request.headers.get("x-timestamp"))
        self._check_pending()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._config.timeout
        sender = _sender(request)
        try:
            group = f"{sender} {webhooks[0].group_key}"
            results: list[Result] = []
            async with self._admission.admitted(group, len(body), self._config.timeout / 2):
                for webhook in webhooks:
                    results += await self._intake.process(webhook, deadline - loop.time())
        except Busy as error:
            raise _unavailable(f"{error}; send it again") from None
        truncated_alerts = sum(webhook.truncated_alerts for webhook in webhooks)
        self._metrics.count_results(SOURCE, sender, results, truncated_alerts)
        _log_results(webhooks, sender, results, loop.time() - deadline + self._config.timeout)
        return _response(request, results, truncated_alerts)

    def _check_timestamp(self, header: str | None) -> None:
        """Reject a replay, where the sender says when it sent."""
        skew = timedelta(seconds=self._config.clock_skew)
        if header is not None and abs(datetime.now(UTC) - _parse_timestamp(header)) > skew:
            detail = f"X-Timestamp {header[:40]!r} differs from the gateway's clock by more than {skew}"
            raise _out_of_range("X-Timestamp", detail)


def application(endpoints: Endpoints, more: Sequence[BaseRoute]) -> Starlette:
    """The gateway as an ASGI application."""
    routes = [
        Route(PROMETHEUS, endpoints.prometheus, methods=["POST"]),
        Route(KUBERNETES_EVENT, endpoints.kubernetes_event, methods=["POST"]),
        *more,
    ]
    return problems.application(routes, hint=f"alerts go to POST {PROMETHEUS}")


async def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    """The content of a body; of a large one in a thread, so that other requests are answered meanwhile."""
    return decode(body) if len(body) <= MAX_DECODED_AT_ONCE else await asyncio.to_thread(decode, body)


def _log_results(webhooks: Sequence[Webhook], sender: str, results: Sequence[Result], seconds: float) -> None:
    """One line for each alert that is rejected, failed or adjusted, as far as they are few, and one for all."""
    remarkable = [result for result in results if result.reason or result.adjustments]
    for result in remarkable[:MAX_ALERT_LINES]:
        if result.reason is None:
            adjustments = list(map(str, result.adjustments))
            log.info("alert adjusted", alert=result.name, adjustments=adjustments, sender=sender)
        else:
            event = "alert rejected" if result.status is ResultStatus.REJECTED else "alert not stored"
            log.warning(event, alert=result.name, reason=result.reason, error=result.message, sender=sender)
    counts = Counter(str(result.status) for result in results)
    log.info(
        "notification processed",
        group=redact(webhooks[0].group_key)[:MAX_GROUP_LENGTH],
        sender=sender,
        alerts=len(results),
        truncated_alerts=sum(webhook.truncated_alerts for webhook in webhooks),
        lines_left_out=max(0, len(remarkable) - MAX_ALERT_LINES),
        took=round(seconds, 3),
        **counts,
    )


def _sender(request: Request) -> str:
    """Who sends it: an identity, or an address where nobody is authenticated."""
    identity: Identity | None = getattr(request.state, "identity", None)
    return identity.name if identity else request.client.host if request.client else ""


def _response(request: Request, results: Sequence[Result], truncated_alerts: int) -> Response:
    failed = [result for result in results if result.status is ResultStatus.FAILED]
    if failed:
        retry_after = ceil(max(result.retry_after for result in failed))
        detail = f"{len(failed)} of {len(results)} alerts are not stored: {failed[0].message}; send all again"
        rejected = _unavailable(detail, retry_after)
        return problem_response(
            request, rejected, members=msgspec.to_builtins(batch_response(results, truncated_alerts))
        )
    if len(results) != 1:
        return json_response(batch_response(results, truncated_alerts), 207 if results else 200)
    status = {ResultStatus.CREATED: 201, ResultStatus.DUPLICATE: 202}.get(results[0].status, 200)
    return json_response(signal_response(results[0], truncated_alerts), status)


def _unavailable(detail: str, retry_after: int = 0) -> RequestRejected:
    return RequestRejected(Slug.UNAVAILABLE, detail, title=_NOT_STORED, retry_after=retry_after or RETRY_AFTER)


def _parse_timestamp(text: str) -> datetime:
    """RFC 3339, or seconds since 1970."""
    try:
        if text.strip().isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None or at.tzinfo is None:
        detail = f"X-Timestamp {text[:40]!r} is neither RFC 3339 nor seconds since 1970"
        raise _out_of_range("X-Timestamp", detail)
    return at


def _out_of_range(field: str, detail: str) -> RequestRejected:
    return RequestRejected(Slug.VALIDATION, detail, {field: detail}, title="Timestamp out of range")
