"""The ledgers over HTTP as C2SP tlog-tiles has it, and receipts."""

import gzip
from collections.abc import Callable
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.api.ledger import tiles
from kubernaut.api.ledger.proofs import InclusionProof
from kubernaut.api.ledger.receipts import Receipt
from kubernaut.api.ledger.tiles import InvalidTile, Tile
from kubernaut.api.problems import Slug
from kubernaut.datastorage import chain
from kubernaut.datastorage.checkpointer import Checkpointer
from kubernaut.datastorage.ledger_reader import LedgerReader, TileMissing
from kubernaut.datastorage.settings import DatabaseSettings
from kubernaut.ops.http.problems import RequestRejected, json_response

_FOR_EVER = "public, max-age=31536000, immutable"
_BRIEFLY = "public, max-age=60"
_NOT_KEPT = "no-cache"
_BYTES = "application/octet-stream"
_NOT_SIGNED = "the ledger is not signed: ledger.keyFile is not set"


class LedgerEndpoints:
    """The routes over the ledgers of one database."""

    def __init__(
        self, reader: LedgerReader, settings: Callable[[], DatabaseSettings], checkpointer: Checkpointer
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._checkpointer = checkpointer

    def routes(self) -> list[Route]:
        """Everything below /ledger, and receipts."""
        return [
            Route("/ledger/{shard:int}/checkpoint", self.checkpoint, methods=["GET"]),
            Route("/ledger/{shard:int}/tile/entries/{path:path}", self.entries, methods=["GET"]),
            Route("/ledger/{shard:int}/tile/{level:int}/{path:path}", self.tile, methods=["GET"]),
            Route("/api/v1/audit/events/{event_id:uuid}/receipt", self.receipt, methods=["GET"]),
        ]

    async def checkpoint(self, request: Request) -> Response:
        """The newest signed checkpoint."""
        checkpoint = await self._checkpointer.served(self._shard(request))
        if checkpoint is None:
            detail = "no checkpoint is signed by the log and a quorum of its witnesses yet"
            raise RequestRejected(Slug.NOT_FOUND, detail if self._checkpointer.is_signing else _NOT_SIGNED)
        headers = {"Cache-Control": _NOT_KEPT}
        return Response(str(checkpoint), headers=headers, media_type="text/plain; charset=utf-8")

    async def tile(self, request: Request) -> Response:
        """The hashes of one tile."""
        shard, level = self._shard(request), request.path_params["level"]
        index, width = _place(request)
        if level > tiles.MAX_LEVEL:
            raise RequestRejected(Slug.NOT_FOUND, f"there are {tiles.MAX_LEVEL + 1} levels of tiles at most")
        return _static(request, await self._reader.tile(shard, Tile(level, index, width)), width)

    async def entries(self, request: Request) -> Response:
        """The entries behind one tile of level 0."""
        index, width = _place(request)
        content = await self._reader.bundle(self._shard(request), index, width)
        return _static(request, content, width, is_compressible=True)

    async def receipt(self, request: Request) -> Response:
        """One event with the proof that the signed ledger holds it."""
        event_id: UUID = request.path_params["event_id"]
        try:
            return json_response(await self._receipt(event_id))
        except (TileMissing, ValueError, OverflowError) as error:
            detail = f"event {event_id} cannot be proven: {error}; run: kubernaut audit verify"
            raise RequestRejected(Slug.LEDGER_INCONSISTENT, detail) from error

    async def _receipt(self, event_id: UUID) -> Receipt:
        """Raises TileMissing, and ValueError or OverflowError where the row holds what nobody could have sent."""
        stored = await self._reader.event(event_id)
        if stored is None:
            raise RequestRejected(Slug.NOT_FOUND, f"there is no event {event_id}")
        row = stored.row
        if stored.payload is None:
            raise RequestRejected(Slug.NOT_FOUND, f"the payload of event {event_id} is gone; its ledger entry remains")
        checkpoint = await self._checkpointer.covering(row.shard, row.sequence)
        if checkpoint is None:
            raise RequestRejected(Slug.NOT_FOUND, _NOT_SIGNED)
        hashes = await self._reader.inclusion_proof(row.shard, row.sequence - 1, checkpoint.head.size)
        proof = InclusionProof(index=row.sequence - 1, hashes=tuple(hashes), checkpoint=checkpoint)
        return Receipt(
            event=chain.canonical(stored.payload).decode(),
            entry=chain.ledger_entry(row).decode(),
            proof=str(proof),
        )

    def _shard(self, request: Request) -> int:
        shard: int = request.path_params["shard"]
        if shard >= self._settings().shards:
            raise RequestRejected(Slug.NOT_FOUND, f"there are {self._settings().shards} ledgers, numbered from 0")
        return shard


def _place(request: Request) -> tuple[int, int]:
    try:
        index, width = tiles.index_and_width(request.path_params["path"])
    except InvalidTile as error:
        raise RequestRejected(Slug.NOT_FOUND, str(error)) from error
    if index >= 2**40:
        raise RequestRejected(Slug.NOT_FOUND, "the ledger has not grown so far")
    return index, width


def _static(request: Request, content: bytes | None, width: int, *, is_compressible: bool = False) -> Response:
    if content is None:
        raise RequestRejected(Slug.NOT_FOUND, "the ledger has not grown so far")
    headers = {"Cache-Control": _FOR_EVER if width == tiles.WIDTH else _BRIEFLY}
    if is_compressible:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            content = gzip.compress(content, compresslevel=3, mtime=0)
    return Response(content, headers=headers, media_type=_BYTES)
