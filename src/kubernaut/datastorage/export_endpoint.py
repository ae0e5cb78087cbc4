"""`GET /api/v1/audit/export`."""

from datetime import UTC, datetime

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from kubernaut.api.ledger.checkpoints import Checkpoint
from kubernaut.api.problems import Slug
from kubernaut.datastorage import parameters
from kubernaut.datastorage.actor import actor_of
from kubernaut.datastorage.checkpointer import Checkpointer
from kubernaut.datastorage.export import Exporter, ExportFilters, ExportRequest
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.ops.http.problems import RequestRejected

EXPORT = "/api/v1/audit/export"
FORMATS = ("json", "ndjson")
MAX_LIMIT = 10_000


class ExportEndpoint:
    """The route over the ledgers of one database."""

    def __init__(self, exporter: Exporter, reader: LedgerReader, checkpointer: Checkpointer) -> None:
        self._exporter = exporter
        self._reader = reader
        self._checkpointer = checkpointer

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route(EXPORT, self.export, methods=["GET"])]

    async def export(self, request: Request) -> Response:
        """Events that match, with what is needed to check them."""
        given = request.query_params
        wanted = _request(given, actor_of(request))
        if given.get("format", "json") == "json":
            checkpoint = await self._checkpointer.served(0)
            return StreamingResponse(self._exporter.json(wanted, checkpoint), media_type="application/json")
        signed = await self._signed()
        return StreamingResponse(self._exporter.ndjson(wanted, signed), media_type="application/x-ndjson")

    async def _signed(self) -> dict[int, Checkpoint]:
        signed = {}
        for shard in await self._reader.shards():
            checkpoint = await self._checkpointer.covering(shard, (await self._reader.head(shard)).size)
            if checkpoint is None:
                raise RequestRejected(Slug.NOT_FOUND, "the ledger is not signed: ledger.keyFile is not set")
            signed[shard] = checkpoint
        return signed


def _request(given: QueryParams, exported_by: str) -> ExportRequest:
    now = datetime.now(UTC)
    if given.get("format", "json") not in FORMATS:
        raise _invalid("format", f"must be one of {', '.join(FORMATS)}")
    is_redacted = _flag(given, "redact_pii")
    if is_redacted and given.get("format") == "ndjson":
        raise _invalid("redact_pii", "a redacted event cannot be proven; use format=json")
    texts = {}
    for name, max_length in (("correlation_id", 255), ("event_category", 50)):
        if text := given.get(name):
            if len(text) > max_length or "\0" in text:
                raise _invalid(name, f"must have at most {max_length} characters and no NUL")
            texts[name] = text
    times = {
        name: parameters.point_in_time(given[name], now, name) for name in ("start_time", "end_time") if given.get(name)
    }
    return ExportRequest(
        filters=ExportFilters(
            correlation_id=texts.get("correlation_id"),
            event_category=texts.get("event_category"),
            start_time=times.get("start_time"),
            end_time=times.get("end_time"),
        ),
        exported_by=exported_by,
        exported_at=now,
        offset=parameters.integer("offset", given.get("offset", ""), default=0, low=0, high=2**31),
        limit=parameters.integer("limit", given.get("limit", ""), default=1000, low=1, high=MAX_LIMIT),
        is_redacted=is_redacted,
        with_signature=_flag(given, "include_detached_signature"),
    )


def _flag(given: QueryParams, name: str) -> bool:
    text = given.get(name, "false")
    if text not in ("true", "false"):
        raise _invalid(name, "must be true or false")
    return text == "true"


def _invalid(name: str, reason: str) -> RequestRejected:
    return RequestRejected(Slug.VALIDATION, f"invalid query parameters: {name}: {reason}", {name: reason})
