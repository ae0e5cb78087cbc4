"""The HTTP contract; `openapi.yaml` beside this module is what it promises."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from uuid import UUID

import msgspec
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kubernaut.api.events import (
    AFTER_QUEUED_HEADER,
    BatchCreated,
    BatchResults,
    EventCreated,
    EventResult,
    VerifyRequest,
)
from kubernaut.api.problems import Slug
from kubernaut.datastorage import intake, parameters, search
from kubernaut.datastorage.actors import Actors
from kubernaut.datastorage.append_plan import AppendResult
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.checkpointer import LedgerInconsistent
from kubernaut.datastorage.config import ServerConfig
from kubernaut.datastorage.dead_letter.writer import Acceptance, Writer
from kubernaut.datastorage.errors import DataStorageError, EventConflict, ParentMissing, PartitionMissing
from kubernaut.datastorage.intake import ClockAhead, EventRejected, Rejection
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.reader import InvalidPosition, TimelineTooLong
from kubernaut.datastorage.store import Store
from kubernaut.ops.http import problems
from kubernaut.ops.http.authentication import Identity
from kubernaut.ops.http.body import JsonBodyReader
from kubernaut.ops.http.problems import RequestRejected, json_response, problem_response
from kubernaut.ops.json_faults import JSON_FAULTS, json_fault

EVENTS_PATH = "/api/v1/audit/events"
"""Where events are written, one or, below it, many."""

RETRY_AFTER = 2
"""Seconds after which a writer should try again."""

BATCH_TABLE = "audit_events_batch"
"""The word of the Go project's metrics for writes of many events; those of one are `audit_events`."""

MISSING_PARTITION_RETRY_AFTER = 30
"""Seconds after which an event whose partition is missing should be tried again; somebody has to act meanwhile."""

CLOCK_AHEAD = "clock_ahead"
"""Why an event is not stored whose time is too far in the future."""

LENIENT = "handling=lenient"
LEDGER_RANGE = "ledger-range"
"""Preferences of a batch."""

_QUEUED = "{} audit events queued for async processing via DLQ"


class _Text(StringConvertor):
    """A path's last part whatever it contains, slashes and line breaks included."""

    regex = r"[\s\S]+"


register_url_convertor("text", _Text())

_decode_verify = msgspec.json.Decoder(VerifyRequest).decode


class Endpoints:
    """The routes over one store."""

    def __init__(self, store: Store, writer: Writer, config: ServerConfig, metrics: Metrics, actors: Actors) -> None:
        self._store = store
        self._writer = writer
        self._actors = actors
        self._config = config
        self._metrics = metrics
        self._body = JsonBodyReader(config.max_body_size, default_type="application/json")

    def routes(self) -> list[Route]:
        """Everything below /api/v1, and the contract itself."""
        return [
            Route(EVENTS_PATH, self.events, methods=["GET", "POST"]),
            Route(f"{EVENTS_PATH}/batch", self.append_batch, methods=["POST"]),
            Route("/api/v1/audit/timeline/{correlation_id:text}", self.timeline, methods=["GET"]),
            Route("/api/v1/audit/verify-chain", self.verify, methods=["POST"]),
            Route("/openapi.yaml", openapi, methods=["GET"]),
        ]

    async def events(self, request: Request) -> Response:
        """One path, two methods; one route, so that a 405 names both."""
        return await (self.append_one(request) if request.method == "POST" else self.query(request))

    async def append_one(self, request: Request) -> Response:
        """One event; 201 when it is in the ledger, 202 when it is in the dead-letter queue."""
        entry = intake.admit_one(await self._body.read(request), datetime.now(UTC))
        self._actors.check(_identity(request), [entry])
        acceptance = await self._append(request, [entry], "audit_events")
        event = entry.event
        return json_response(
            EventCreated(
                event_id=event.event_id,
                event_timestamp=event.event_timestamp,
                message=_QUEUED.format(1) if acceptance.is_queued else "Audit event created successfully",
                queued=acceptance.is_queued,
            ),
            202 if acceptance.is_queued else 201,
        )

    async def append_batch(self, request: Request) -> Response:
        """Many events, all or none; with `Prefer: handling=lenient` the good ones."""
        body = await self._body.read(request)
        now = datetime.now(UTC)
        if LENIENT in _preferences(request):
            return await self._append_lenient(request, body, now)
        entries = intake.admit(body, now, self._config.max_batch_size)
        self._actors.check(_identity(request), entries)
        acceptance = await self._append(request, entries, BATCH_TABLE)
        ids = [entry.event.event_id for entry in entries]
        if acceptance.is_queued:
            return json_response(BatchCreated(event_ids=ids, message=_QUEUED.format(len(ids)), queued=True), 202)
        created = BatchCreated(event_ids=ids, message=f"{len(ids)} audit events created successfully")
        if LEDGER_RANGE not in _preferences(request):
            return json_response(created, 201)
        created = msgspec.structs.replace(created, ledger=await self._store.read.ledger_ranges(ids))
        return json_response(created, 201, {"Preference-Applied": LEDGER_RANGE})

    async def _append(self, request: Request, entries: list[Entry], table: str) -> Acceptance:
        self._metrics.arrived(entries)
        status = "failure"
        try:
            with self._metrics.write_seconds.labels(table).time():
                acceptance = await self._writer.append(entries, after_queued=_is_after_queued(request))
            failed = [append_result for append_result in acceptance.results if append_result is not None]
            # What can never be stored decides before what only has to wait.
            for append_result in sorted(failed, key=lambda result: isinstance(result, PartitionMissing)):
                status = "conflict" if isinstance(append_result, EventConflict) else "rejected"
                raise append_result
            status = "dlq_fallback" if acceptance.is_queued else "success"
            return acceptance
        finally:
            self._metrics.answered(entries, status)

    async def _append_lenient(self, request: Request, body: bytes, now: datetime) -> Response:
        admitted = intake.admit_each(body, now, self._config.max_batch_size)
        admitted = self._actors.check_each(_identity(request), admitted)
        entries = [entry for entry in admitted if isinstance(entry, Entry)]
        self._metrics.arrived(entries)
        with self._metrics.write_seconds.labels(BATCH_TABLE).time():
            acceptance = Acceptance(results=())
            if entries:
                after_queued = _is_after_queued(request)
                acceptance = await self._writer.append(entries, strict=False, after_queued=after_queued)
        accepted_status, accepted = (202, "dlq_fallback") if acceptance.is_queued else (201, "success")
        append_results = iter(acceptance.results)
        results = []
        ahead: dict[UUID, ClockAhead] = {}
        for index, entry in enumerate(admitted):
            if not isinstance(entry, Entry):
                results.append(_refused(index, entry))
                if isinstance(entry, ClockAhead) and entry.event_id:
                    ahead[entry.event_id] = entry
                continue
            append_result = next(append_results)
            if isinstance(append_result, ParentMissing) and (cause := ahead.get(append_result.parent)):
                # The parent has to wait for the clock, and so has its child.
                ahead[entry.event.event_id] = cause
                results.append(_refused(index, cause))
            else:
                results.append(_result(index, entry.event.event_id, append_result, accepted_status))
            self._metrics.answered([entry], accepted if append_result is None else "rejected")
        stored = sum(result.status == 201 for result in results)
        queued = sum(result.status == 202 for result in results)
        rejected = len(results) - stored - queued
        batch_results = BatchResults(results=results, stored=stored, rejected=rejected, queued=queued)
        return json_response(batch_results, 207, {"Preference-Applied": LENIENT})

    async def query(self, request: Request) -> Response:
        """One page of events, newest first."""
        return json_response(await search.find_events(self._store.read, request.query_params, datetime.now(UTC)))

    async def timeline(self, request: Request) -> Response:
        """The events of one correlation."""
        correlation_id = parameters.correlation(request.path_params["correlation_id"])
        wanted = parameters.timeline(request.query_params)
        try:
            return json_response(await self._store.read.timeline(correlation_id, wanted))
        except (InvalidPosition, TimelineTooLong) as error:
            field = "after" if isinstance(error, InvalidPosition) else "order"
            raise RequestRejected(Slug.VALIDATION, str(error), {field: str(error)}) from error

    async def verify(self, request: Request) -> Response:
        """Verify one correlation, one ledger or everything; 200 also when verification fails, which the answer says."""
        parameters.single(request.query_params, ())
        body = await self._body.read(request)
        try:
            verify_request = _decode_verify(body or b"{}")
        except JSON_FAULTS as error:
            raise RequestRejected(
                Slug.INVALID_REQUEST, f"invalid request body: {json_fault(error)}", {"body": json_fault(error)}
            ) from error
        if (verify_request.head_sequence is None) != (verify_request.head_hash is None):
            raise RequestRejected(
                Slug.VALIDATION, "head_sequence and head_hash belong together", {"head_hash": "give both or none"}
            )
        parameters.correlation(verify_request.correlation_id or "")
        shards = self._store.settings.shards
        # With a head it is verified: a ledger that somebody has kept a head of and that is gone is a finding.
        if verify_request.shard is not None and verify_request.shard >= shards and not verify_request.head_sequence:
            detail = f"there are {shards} ledgers, numbered from 0"
            raise RequestRejected(Slug.VALIDATION, detail, {"shard": detail})
        return json_response(await self._store.read.verify(verify_request))


def application(routes: Sequence[BaseRoute], metrics: Metrics) -> Starlette:
    """The whole service as an ASGI application; every answer that is not 2xx is a problem document, or a page."""
    handlers: dict[type[Exception], problems.Handler] = {
        RequestRejected: _rejected(metrics),
        EventConflict: _not_appended,
        ParentMissing: _not_appended,
        PartitionMissing: _not_appended,
        LedgerInconsistent: _inconsistent,
        DataStorageError: _unavailable,
    }
    return problems.application(routes, handlers, hint="/openapi.yaml lists the paths")


def _identity(request: Request) -> Identity | None:
    """Who sends the request; None without authentication."""
    identity: Identity | None = getattr(request.state, "identity", None)
    return identity


async def openapi(_: Request) -> Response:
    """The contract of this service."""
    text = resources.files("kubernaut.datastorage").joinpath("openapi.yaml").read_bytes()
    return Response(text, media_type="application/yaml")


def _rejected(metrics: Metrics) -> problems.Handler:
    async def answer(request: Request, rejected: RequestRejected) -> Response:
        if rejected.slug.status == 400:
            metrics.rejected.labels(request.scope["route"].path, rejected.slug).inc()
        members: dict[str, object] = {}
        if isinstance(rejected, EventRejected | ClockAhead) and rejected.index is not None:
            members["index"] = rejected.index
        if isinstance(rejected, ClockAhead):
            members |= {"reason": CLOCK_AHEAD, "server_time": rejected.server_time}
        return problem_response(request, rejected, members=members)

    return answer


def _is_after_queued(request: Request) -> bool:
    return request.headers.get(AFTER_QUEUED_HEADER, "").strip().lower() == "true"


def _preferences(request: Request) -> set[str]:
    """What the Prefer headers (RFC 7240) ask for, without parameters."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return {preference.partition(";")[0].replace(" ", "").replace('"', "").lower() for preference in preferences}


def _refused(index: int, rejection: Rejection) -> EventResult:
    is_ahead = isinstance(rejection, ClockAhead)
    return EventResult(
        index=index,
        status=rejection.slug.status,
        detail=str(rejection),
        field_errors=rejection.field_errors,
        reason=CLOCK_AHEAD if is_ahead else "",
        # Somebody may still permit the writer what it lacks.
        retry=is_ahead or rejection.slug is Slug.FORBIDDEN,
    )


def _result(index: int, event_id: UUID, append_result: AppendResult, accepted_status: int) -> EventResult:
    if append_result is None:
        return EventResult(index=index, status=accepted_status, event_id=event_id)
    described = _described(append_result, index)
    return EventResult(
        index=index,
        status=described.slug.status,
        event_id=event_id,
        detail=str(described),
        field_errors=described.field_errors,
        reason=append_result.reason or "",
        retry=described.slug.status >= 500,
    )


def _described(error: EventConflict | ParentMissing | PartitionMissing, index: int) -> RequestRejected:
    """What the event at `index` of its batch is answered."""
    if isinstance(error, EventConflict):
        return RequestRejected(Slug.CONFLICT, str(error), {f"[{index}].event_id": "stored with other content"})
    if isinstance(error, PartitionMissing):
        errors = {f"[{index}].event_timestamp": f"the partition {error.partition} is missing"}
        return RequestRejected(Slug.UNAVAILABLE, str(error), errors, retry_after=MISSING_PARTITION_RETRY_AFTER)
    return RequestRejected(Slug.VALIDATION, str(error), {f"[{index}].parent_event_id": error.fault})


async def _not_appended(request: Request, error: EventConflict | ParentMissing | PartitionMissing) -> Response:
    members: dict[str, object] = {"index": error.index}
    if error.reason:
        members["reason"] = error.reason
    return problem_response(request, _described(error, error.index), members=members)


async def _inconsistent(request: Request, error: LedgerInconsistent) -> Response:
    return problem_response(request, RequestRejected(Slug.LEDGER_INCONSISTENT, str(error)), cause=error)


async def _unavailable(request: Request, error: DataStorageError) -> Response:
    detail = "The store is unavailable. Try again later."
    if request.method == "POST" and request.url.path.startswith(EVENTS_PATH):
        detail = "The store is unavailable. Send the same events with the same ids again."
    rejected = RequestRejected(Slug.UNAVAILABLE, detail, retry_after=RETRY_AFTER)
    members = {"reason": error.reason} if error.reason else None
    return problem_response(request, rejected, cause=error, members=members)
