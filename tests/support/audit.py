"""Builders of audit events, and a DataStorage server that speaks HTTP and answers as it is told."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubernaut.api.events import AuditEvent
from kubernaut.api.problems import CONTENT_TYPE, Slug, problem
from kubernaut.api.vocabulary import EventOutcome
from kubernaut.ops.http.server import Listen, open_server

Respond = Callable[[list[AuditEvent], bytes], Response | None]
"""The response to a batch; None stores it."""


def an_event(
    number: int = 0,
    *,
    correlation: str = "rr-1",
    event_id: UUID | None = None,
    data: dict[str, object] | bytes | None = None,
) -> AuditEvent:
    """An event that carries `number`; `data` replaces its payload, as an object or as JSON text."""
    payload = data if isinstance(data, bytes) else msgspec.json.encode(data or {"number": number})
    return AuditEvent(
        event_type="signalprocessing.phase.transition",
        event_timestamp=datetime(2026, 11, 22, 20, 0, tzinfo=UTC),
        event_category="signalprocessing",
        event_action="phase_transition",
        event_outcome=EventOutcome.SUCCESS,
        correlation_id=correlation,
        event_data=msgspec.Raw(payload),
        event_id=event_id or uuid4(),
    )


def number_of(event: AuditEvent) -> int:
    return msgspec.json.decode(event.event_data)["number"]


def problem_response(
    status: int, slug: Slug = Slug.VALIDATION, detail: str = "no", *, index: int | None = None
) -> Response:
    document = problem(slug, detail, status=status, title="No", index=index)
    return Response(msgspec.json.encode(document), status, media_type=CONTENT_TYPE)


class FakeDataStorage:
    """A store in memory. `respond` decides about each batch; ids are kept once, as in the real one."""

    def __init__(self) -> None:
        self.url = ""
        self.respond: Respond = lambda events, body: None
        self.stored: dict[UUID, AuditEvent] = {}
        self.batches: list[int] = []
        self.headers: dict[str, str] = {}
        """Of the last request."""

    @property
    def numbers(self) -> list[int]:
        return [number_of(event) for event in self.stored.values()]

    async def batch(self, request: Request) -> Response:
        self.headers = dict(request.headers)
        body = await request.body()
        events = msgspec.json.decode(body, type=list[AuditEvent])
        self.batches.append(len(events))
        response = self.respond(events, body)
        if response is not None:
            return response
        for event in events:
            self.stored.setdefault(event.event_id, event)
        return JSONResponse({"event_ids": [str(event.event_id) for event in events], "message": "stored"}, 201)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/api/v1/audit/events/batch", self.batch, methods=["POST"])])


@asynccontextmanager
async def open_fake_datastorage(port: int = 0) -> AsyncIterator[FakeDataStorage]:
    fake = FakeDataStorage()
    async with open_server(fake.app(), Listen(port=port), shutdown_timeout=1) as server:
        fake.url = server.url
        yield fake
