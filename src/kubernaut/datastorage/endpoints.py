"""The HTTP contract; `openapi.yaml` beside this module is what it promises."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.api.events import BatchCreated, BatchResults, EventCreated, EventResult, VerifyRequest
from kubernaut.api.problems import CONTENT_TYPE, Slug, problem
from kubernaut.datastorage import intake, parameters
from kubernaut.datastorage.config import ServerConfig
from kubernaut.datastorage.errors import DataStorageError, EventConflict, ParentMissing, QueueFull
from kubernaut.datastorage.intake import Entry, Refused
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.reader import InvalidCursor
from kubernaut.datastorage.store import Store
from kubernaut.ops.health import Health

log = structlog.get_logger("datastorage")

RETRY_AFTER = 2
"""Seconds that a refused writer should wait."""

DRAINED = 4
"""A body up to so many times the limit is read to its end before it is refused."""

_decode_verify = msgspec.json.Decoder(VerifyRequest).decode
_encode = msgspec.json.Encoder().encode


class Endpoints:
    """The routes over one store."""

    def __init__(self, store: Store, config: ServerConfig, metrics: Metrics) -> None:
        self._store = store
        self._config = config
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """Everything below /api/v1, and the contract itself."""
        return [
            Route("/api/v1/audit/events", self.events, methods=["GET", "POST"]),
            Route("/api/v1/audit/events/batch", self.append_batch, methods=["POST"]),
            Route("/api/v1/audit/timeline/{correlation_id:path}", self.timeline, methods=["GET"]),
            Route("/api/v1/audit/verify-chain", self.verify, methods=["POST"]),
            Route("/openapi.yaml", openapi, methods=["GET"]),
        ]

    async def events(self, request: Request) -> Response:
        """One path, two methods; one route, so that a 405 names both."""
        return await (self.append_one(request) if request.method == "POST" else self.query(request))

    async def append_one(self, request: Request) -> Response:
        """One event; 201 when it is on disk."""
        entry = intake.admit_one(await self._body(request), datetime.now(UTC))
        await self._append([entry])
        event = entry.event
        return _json(
            EventCreated(
                event_id=event.event_id,
                event_timestamp=event.event_timestamp,
                message="Audit event created successfully",
            ),
            201,
        )

    async def append_batch(self, request: Request) -> Response:
        """Many events, all or none; with `Prefer: handling=lenient` the good ones."""
        body = await self._body(request)
        now = datetime.now(UTC)
        if "handling=lenient" in request.headers.get("prefer", "").replace(" ", ""):
            return await self._append_lenient(body, now)
        entries = intake.admit(body, now, self._config.max_batch_size)
        await self._append(entries)
        ids = [entry.event.event_id for entry in entries]
        return _json(BatchCreated(event_ids=ids, message=f"{len(ids)} audit events created successfully"), 201)

    async def _append(self, entries: list[Entry]) -> None:
        self._metrics.arrived(entries)
        status = "failure"
        try:
            outcomes = await self._store.append(entries)
            for outcome in outcomes:
                if outcome is not None:
                    status = "conflict" if isinstance(outcome, EventConflict) else "refused"
                    raise outcome
            status = "success"
        finally:
            self._metrics.answered(entries, status)

    async def _append_lenient(self, body: bytes, now: datetime) -> Response:
        admitted = intake.admit_each(body, now, self._config.max_batch_size)
        entries = [entry for entry in admitted if isinstance(entry, Entry)]
        self._metrics.arrived(entries)
        outcomes = iter(await self._store.append(entries, strict=False) if entries else ())
        results = []
        for index, entry in enumerate(admitted):
            if isinstance(entry, Refused):
                results.append(EventResult(index=index, status=400, detail=str(entry)))
                continue
            outcome = next(outcomes)
            status = 201 if outcome is None else 409 if isinstance(outcome, EventConflict) else 400
            detail = None if outcome is None else str(outcome)
            results.append(EventResult(index=index, status=status, event_id=entry.event.event_id, detail=detail))
            self._metrics.answered([entry], "success" if outcome is None else "refused")
        stored = sum(result.status == 201 for result in results)
        answer = BatchResults(results=results, stored=stored, refused=len(results) - stored)
        return _json(answer, 207, {"Preference-Applied": "handling=lenient"})

    async def query(self, request: Request) -> Response:
        """One page of events, newest first."""
        filters, page = parameters.query(request.query_params, datetime.now(UTC))
        try:
            return _json(await self._store.read.page(filters, page))
        except InvalidCursor as error:
            raise Refused(Slug.VALIDATION, str(error), {"cursor": str(error)}) from error

    async def timeline(self, request: Request) -> Response:
        """One correlation in the order of the ledger."""
        correlation_id: str = request.path_params["correlation_id"]
        if len(correlation_id) > 255 or "\0" in correlation_id:
            raise Refused(Slug.VALIDATION, "correlation_id has 1 to 255 characters", {"correlation_id": "too long"})
        limit = parameters.whole("limit", request.query_params.get("limit", ""), default=1000, low=1, high=1000)
        after = parameters.whole("after", request.query_params.get("after", ""), default=0, low=0, high=2**63 - 1)
        return _json(await self._store.read.timeline(correlation_id, after=after, limit=limit))

    async def verify(self, request: Request) -> Response:
        """Verifier one correlation or everything; 200 also when something is wrong, which the answer says."""
        body = await self._body(request)
        try:
            wanted = _decode_verify(body or b"{}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(Slug.INVALID_REQUEST, f"invalid request body: {error}", {"body": str(error)}) from error
        if (wanted.head_sequence is None) != (wanted.head_hash is None):
            raise Refused(
                Slug.VALIDATION, "head_sequence and head_hash belong together", {"head_hash": "give both or none"}
            )
        if "\0" in (wanted.correlation_id or ""):
            raise Refused(Slug.VALIDATION, "correlation_id contains NUL", {"correlation_id": "contains NUL"})
        return _json(await self._store.read.verify(wanted))

    async def _body(self, request: Request) -> bytes:
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "identity").lower()
        if media != "application/json" or encoding != "identity":
            raise HTTPException(415, "application/json without content encoding is expected")
        most = self._config.max_body_size
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            # A client that is cut off while it sends may never see the answer, so a body that is somewhat too large
            # is read to its end and dropped.
            if size > most * DRAINED:
                break
            if size > most:
                parts.clear()
            else:
                parts.append(part)
        if size > most:
            raise HTTPException(413, f"the body is larger than {most} bytes; send smaller batches")
        return b"".join(parts)


def application(
    store: Store, health: Health, config: ServerConfig, metrics: Metrics, registry: CollectorRegistry
) -> Starlette:
    """The whole service as an ASGI application; every answer that is not 2xx is a problem document."""
    endpoints = Endpoints(store, config, metrics)
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        Refused: _refused(metrics),
        EventConflict: _conflict,
        ParentMissing: _parent_missing,
        QueueFull: _unavailable,
        DataStorageError: _unavailable,
        HTTPException: _http,
        ClientDisconnect: _disconnected,
        Exception: _unexpected,
    }
    return Starlette(routes=[*endpoints.routes(), *health.routes(registry)], exception_handlers=handlers)


async def openapi(_: Request) -> Response:
    """The contract of this service."""
    text = resources.files("kubernaut.datastorage").joinpath("openapi.yaml").read_bytes()
    return Response(text, media_type="application/yaml")


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(value), status, headers, media_type="application/json")


def _problem(
    request: Request,
    slug: Slug,
    status: int,
    title: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    **more: object,
) -> Response:
    document = problem(slug, status, title, detail, instance=request.url.path, **more)
    return Response(_encode(document), status, headers, media_type=CONTENT_TYPE)


_TITLES = {
    Slug.INVALID_REQUEST: "Invalid Request",
    Slug.INVALID_EVENT_DATA: "Invalid Event Data",
    Slug.BATCH_SIZE: "Batch Size Exceeded",
}


def _refused(metrics: Metrics) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(request: Request, error: Refused) -> Response:
        metrics.refused.labels(request.scope["route"].path, error.slug).inc()
        title = _TITLES.get(error.slug, "Validation Error")
        return _problem(request, error.slug, 400, title, str(error), field_errors=error.field_errors)

    return answer


async def _conflict(request: Request, error: EventConflict) -> Response:
    errors = {f"[{error.index}].event_id": "stored with other content"}
    return _problem(request, Slug.CONFLICT, 409, "Conflict", str(error), field_errors=errors)


async def _parent_missing(request: Request, error: ParentMissing) -> Response:
    errors = {f"[{error.index}].parent_event_id": "parent event does not exist"}
    return _problem(request, Slug.VALIDATION, 400, "Validation Error", str(error), field_errors=errors)


async def _unavailable(request: Request, error: DataStorageError) -> Response:
    # The text of the error names hosts and users; the log has it, the client gets what to do.
    log.warning("request not served", path=request.url.path, error=str(error))
    detail = "The store cannot be used at the moment. Send the same events with the same ids again."
    headers = {"Retry-After": str(RETRY_AFTER)}
    return _problem(request, Slug.UNAVAILABLE, 503, "Service Unavailable", detail, headers=headers, retry=True)


_HTTP = {
    404: (Slug.NOT_FOUND, "Not Found"),
    405: (Slug.METHOD_NOT_ALLOWED, "Method Not Allowed"),
    413: (Slug.TOO_LARGE, "Request Too Large"),
    415: (Slug.UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type"),
}


async def _http(request: Request, error: HTTPException) -> Response:
    slug, title = _HTTP.get(error.status_code, (Slug.INVALID_REQUEST, "Invalid Request"))
    headers = dict(error.headers or {})
    if error.status_code == 413:
        # The rest of the body is still on its way; nobody will read it.
        headers["Connection"] = "close"
    return _problem(request, slug, error.status_code, title, error.detail, headers=headers)


async def _disconnected(request: Request, _: ClientDisconnect) -> Response:
    return _problem(request, Slug.INVALID_REQUEST, 400, "Invalid Request", "the body ended too early")


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=repr(error), exc_info=error)
    detail = "An internal error occurred. Check server logs for details."
    return _problem(request, Slug.INTERNAL, 500, "Internal Server Error", detail, retry=True)
