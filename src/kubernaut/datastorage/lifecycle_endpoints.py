"""Legal holds and erasures over HTTP, as the Go project's contract words them where it has them."""

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.api.lifecycle import EraseEvents, PlaceHold, ReleaseHold
from kubernaut.api.problems import Slug
from kubernaut.datastorage.actor import actor_of
from kubernaut.datastorage.config import DatabaseConfig, ServerConfig
from kubernaut.datastorage.erasure import Erasure, ErasureRefused, UnknownEvents
from kubernaut.datastorage.export_endpoint import ExportEndpoint
from kubernaut.datastorage.legal_holds import AlreadyHeld, LegalHolds, UnknownCorrelation
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.ops.http.body import JsonBodyReader
from kubernaut.ops.http.problems import RequestRejected, json_response
from kubernaut.ops.json_faults import JSON_FAULTS, json_fault

HOLDS = "/api/v1/audit/legal-hold"
ERASURES = "/api/v1/audit/erasures"

T = TypeVar("T")


class LifecycleEndpoints:
    """The routes over one database."""

    def __init__(
        self, database: DatabaseConfig, server: ServerConfig, metrics: LifecycleMetrics, export: ExportEndpoint
    ) -> None:
        self._export = export
        self._holds = LegalHolds(database=database, metrics=metrics)
        self._erasure = Erasure(database=database, metrics=metrics)
        self._body = JsonBodyReader(server.max_body_size, default_type="application/json")

    def routes(self) -> list[Route]:
        """Everything about holds and erasures, and the export."""
        return [
            *self._export.routes(),
            Route(HOLDS, self.holds, methods=["GET", "POST"]),
            Route(HOLDS + "/{correlation_id:path}", self.release, methods=["DELETE"]),
            Route(ERASURES, self.erase, methods=["POST"]),
        ]

    async def holds(self, request: Request) -> Response:
        """One path, two methods; one route, so that a 405 names both."""
        return await (self.place(request) if request.method == "POST" else self.list_holds(request))

    async def place(self, request: Request) -> Response:
        """Hold a correlation."""
        actor = actor_of(request)
        wanted = _decoded(await self._body.read(request), PlaceHold)
        try:
            return json_response(await self._holds.place(wanted.correlation_id, wanted.reason, actor))
        except UnknownCorrelation as error:
            raise RequestRejected(Slug.NOT_FOUND, str(error)) from error
        except AlreadyHeld as error:
            raise RequestRejected(Slug.CONFLICT, str(error)) from error

    async def list_holds(self, request: Request) -> Response:
        """Every hold in force."""
        return json_response(await self._holds.active())

    async def release(self, request: Request) -> Response:
        """End the hold on a correlation."""
        actor = actor_of(request)
        correlation_id = _text("correlation_id", request.path_params["correlation_id"], 255)
        wanted = _decoded(await self._body.read(request), ReleaseHold)
        try:
            return json_response(await self._holds.release(correlation_id, wanted.release_reason, actor))
        except UnknownCorrelation as error:
            raise RequestRejected(Slug.NOT_FOUND, str(error)) from error

    async def erase(self, request: Request) -> Response:
        """Erase payloads by order."""
        actor = actor_of(request)
        wanted = _decoded(await self._body.read(request), EraseEvents)
        if bool(wanted.event_ids) == (wanted.correlation_id is not None):
            detail = "give either event_ids or correlation_id"
            raise RequestRejected(Slug.VALIDATION, detail, {"event_ids": detail})
        try:
            return json_response(await self._erasure.erase(wanted, actor))
        except UnknownEvents as error:
            raise RequestRejected(Slug.NOT_FOUND, str(error)) from error
        except ErasureRefused as error:
            raise RequestRejected(Slug.CONFLICT, str(error)) from error


def _decoded(body: bytes, type: type[T]) -> T:
    try:
        decoded = msgspec.json.decode(body, type=type)
    except JSON_FAULTS as error:
        fault = json_fault(error)
        raise RequestRejected(Slug.INVALID_REQUEST, f"invalid request body: {fault}", {"body": fault}) from error
    return checked(decoded)


def checked(decoded: T) -> T:
    """An order in which every text says something. Raises RequestRejected."""
    for field, value in msgspec.to_builtins(decoded).items():
        if isinstance(value, str):
            _text(field, value, len(value))
    return decoded


def _text(field: str, text: str, max_length: int) -> str:
    if text.isspace() or len(text) > max_length or "\0" in text:
        reason = f"must have at most {max_length} characters, not only blanks, and no NUL"
        raise RequestRejected(Slug.VALIDATION, f"{field}: {reason}", {field: reason})
    return text
