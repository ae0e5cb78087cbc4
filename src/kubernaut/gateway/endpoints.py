"""The webhook. 2xx means that every firing alert is stored or folded; anything less is a 503 that is sent again."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kubernaut.api.problems import CONTENT_TYPE, Slug, problem
from kubernaut.gateway.alertmanager import SOURCE, Malformed, Webhook, decode
from kubernaut.gateway.answers import Result, ResultStatus, Several, one, several
from kubernaut.gateway.config import ServerConfig
from kubernaut.gateway.intake import Intake
from kubernaut.gateway.metrics import GatewayMetrics

log = structlog.get_logger("gateway")

PROMETHEUS = "/api/v1/signals/prometheus"
RETRY_AFTER = 5
"""Seconds after which a notification that was not stored should come again."""

_JSON = "application/json"
_UNSTORED = "Some alerts are not stored"
_TITLES = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class Refused(Exception):
    """The request is not taken; sending the same again does not help."""

    def __init__(self, status: int, slug: Slug, title: str, detail: str, field_errors: dict[str, str] | None = None):
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.title = title
        self.field_errors = field_errors or {}


@dataclass(frozen=True)
class Endpoints:
    """The routes over one intake."""

    intake: Intake
    config: ServerConfig
    metrics: GatewayMetrics
    late: Callable[[], str | None]
    """What is not known yet; None when all is."""

    async def prometheus(self, request: Request) -> Response:
        """One notification of an Alertmanager."""
        started = time.perf_counter()
        try:
            response = await self._answer(request)
        except Refused as refused:
            response = _problem(
                refused.status, refused.slug, refused.title, str(refused), field_errors=refused.field_errors
            )
        self.metrics.answered(PROMETHEUS, response.status_code, time.perf_counter() - started)
        return response

    async def _answer(self, request: Request) -> Response:
        _check_type(request)
        body = await _read(request, self.config.max_body)
        try:
            webhook = decode(body)
        except Malformed as error:
            detail = f"{error.path}: {error}"
            raise Refused(
                400, Slug.VALIDATION, "Not an Alertmanager notification", detail, {error.path: str(error)}
            ) from error
        self._check_time(request.headers.get("x-timestamp"), webhook)
        missing = self.late()
        if missing is not None:
            return _unavailable(f"the gateway is starting and waits for {missing}; send it again")
        try:
            async with asyncio.timeout(self.config.timeout):
                results = await self.intake.take(webhook)
        except TimeoutError:
            log.error("notification not stored in time", group=webhook.group_key[:200], alerts=len(webhook.alerts))
            detail = f"the Kubernetes API did not take everything within {self.config.timeout:g} s; send it again"
            return _unavailable(detail)
        self.metrics.count(SOURCE, results)
        return _said(results)

    def _check_time(self, header: str | None, webhook: Webhook) -> None:
        """Refuse a replay or a clock that is wrong. An alert may have begun any time ago; it may still fire."""
        now, skew = datetime.now(UTC), timedelta(seconds=self.config.clock_skew)
        if header is not None:
            sent_at = _time_of(header)
            if abs(now - sent_at) > skew:
                detail = f"X-Timestamp {header[:40]!r} is more than {self.config.clock_skew:g} s apart from now"
                raise Refused(400, Slug.VALIDATION, "Not of this time", detail, {"X-Timestamp": detail})
            return
        newest = max(alert.starts_at for alert in webhook.alerts)
        if newest.year <= 1 or newest - now > skew:
            detail = f"the newest startsAt, {newest.isoformat()}, is no time at which an alert can have begun"
            raise Refused(400, Slug.VALIDATION, "Not of this time", detail, {"$.alerts[*].startsAt": detail})


def application(endpoints: Endpoints, more: Sequence[BaseRoute]) -> Starlette:
    """The gateway as an ASGI application; whatever it does not understand is a problem document."""
    routes = [Route(PROMETHEUS, endpoints.prometheus, methods=["POST"]), *more]
    return Starlette(routes=routes, exception_handlers={HTTPException: _on_http, Exception: _on_error})


def _said(results: Sequence[Result]) -> Response:
    failed = [result for result in results if result.status is ResultStatus.FAILED]
    body = several(results)
    if failed:
        after = max(result.retry_after for result in failed)
        detail = f"{len(failed)} of {len(results)} alerts are not stored: {failed[0].message}; send all again"
        return _unavailable(detail, body, after)
    if len(results) > 1:
        return _json(207, body)
    status = {ResultStatus.CREATED: 201, ResultStatus.DUPLICATE: 202}.get(results[0].status, 200)
    return _json(status, one(results[0]))


def _unavailable(detail: str, body: Several | None = None, after: float = 0.0) -> Response:
    document = msgspec.to_builtins(problem(Slug.UNAVAILABLE, 503, _UNSTORED, detail, retry=True))
    if body is not None:
        document |= msgspec.to_builtins(body)
    headers = {"retry-after": str(ceil(after) or RETRY_AFTER)}
    return Response(msgspec.json.encode(document), 503, headers, media_type=CONTENT_TYPE)


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != _JSON:
        detail = f"content type {given[:100]!r} is not taken; send {_JSON}"
        raise Refused(415, Slug.UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type", detail)


async def _read(request: Request, most: int) -> bytes:
    too_large = Refused(413, Slug.TOO_LARGE, "Request Too Large", f"a notification may have {most} bytes at most")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


def _time_of(text: str) -> datetime:
    """RFC 3339, or seconds since 1970."""
    try:
        if text.strip().isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None or at.tzinfo is None:
        detail = f"X-Timestamp {text[:40]!r} is neither RFC 3339 nor seconds since 1970"
        raise Refused(400, Slug.VALIDATION, "Not of this time", detail, {"X-Timestamp": detail})
    return at


def _json(status: int, body: object) -> Response:
    return Response(msgspec.json.encode(body), status, media_type=_JSON)


def _problem(status: int, slug: Slug, title: str, detail: str, **more: object) -> Response:
    body = msgspec.json.encode(problem(slug, status, title, detail, **more))
    return Response(body, status, media_type=CONTENT_TYPE)


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    slug = {404: Slug.NOT_FOUND, 405: Slug.METHOD_NOT_ALLOWED}.get(status, Slug.INVALID_REQUEST)
    detail = f"{request.method} {request.url.path[:200]} is not served here; alerts go to POST {PROMETHEUS}"
    response = _problem(status, slug, _TITLES.get(status, "Error"), detail)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)
    log.error("request failed", path=request.url.path, error=repr(error))
    return _problem(500, Slug.INTERNAL, "Internal Server Error", "An internal error occurred; the log says more.")
