"""The routes of the pages; each reads, has a view made, and renders it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from kubernaut.api.events import TimelineOrder, VerifyRequest
from kubernaut.api.ledger import notes
from kubernaut.api.problems import Slug
from kubernaut.datastorage import parameters, search
from kubernaut.datastorage.checkpointer import Checkpointer, LedgerInconsistent
from kubernaut.datastorage.config import LedgerConfig
from kubernaut.datastorage.errors import DataStorageError
from kubernaut.datastorage.event_pages import Filters, PageRequest
from kubernaut.datastorage.ledger_endpoints import LedgerEndpoints
from kubernaut.datastorage.reader import InvalidPosition, Reader, TimelineTooLong
from kubernaut.datastorage.web.event_view import event_view
from kubernaut.datastorage.web.ledger_view import LedgerState, ledger_view
from kubernaut.datastorage.web.rendering import PREFIX, STATIC_ROUTE, page, problem_page
from kubernaut.datastorage.web.search_view import rejected_view, search_view
from kubernaut.datastorage.web.timeline_view import timeline_request, timeline_view
from kubernaut.ops.http.problems import Handler, RequestRejected, json_response, problem_response

ROOT = "/"
"""Where a browser is sent to the pages."""

RETRY_AFTER = 5
"""Seconds after which a page that could not be read should be loaded again."""

log = structlog.get_logger("http")


class Pages:
    """The pages over one audit log."""

    def __init__(
        self,
        read: Reader,
        ledger: LedgerEndpoints,
        checkpointer: Checkpointer,
        config: LedgerConfig,
        more_routes: Sequence[Route],
    ) -> None:
        """`more_routes` are those of forms, below the prefix of the pages."""
        self._read = read
        self._ledger = ledger
        self._checkpointer = checkpointer
        self._quorum = config.witness_quorum
        self._witnesses = {witness.url: notes.parse_verifier(witness.vkey) for witness in config.witnesses}
        self._more_routes = more_routes

    def routes(self) -> list[BaseRoute]:
        """Everything below /ui, and the way there."""
        routes = [
            Route("/", self.search, methods=["GET"]),
            Route("/timeline", self.timeline, methods=["GET"]),
            Route("/events/{event_id:uuid}", self.event, methods=["GET"]),
            Route("/events/{event_id:uuid}/receipt", self.receipt, methods=["GET"]),
            Route("/ledger", self.ledger, methods=["GET"]),
            *self._more_routes,
            STATIC_ROUTE,
        ]
        pages = Router(routes, redirect_slashes=False)
        return [
            Route(ROOT, root, methods=["GET"]),
            Route(PREFIX, root, methods=["GET"]),
            Mount(PREFIX, ExceptionMiddleware(pages, _HANDLERS)),
        ]

    async def search(self, request: Request) -> Response:
        """Events by filters, newest first; filters that can match nothing are explained where they stand."""
        given = request.query_params
        try:
            found = await search.find_events(self._read, given, datetime.now(UTC))
        except RequestRejected as rejected:
            request.state.rejected = rejected.slug
            view = rejected_view(given, rejected.field_errors)
            return page(request, "search.html", status=rejected.slug.status, view=view)
        return page(request, "search.html", view=search_view(given, found))

    async def timeline(self, request: Request) -> Response:
        """One correlation in causal order, and on demand what its verification finds."""
        values = parameters.single(request.query_params, ("correlation_id", "after", "order", "verify"))
        correlation_id = parameters.correlation(values.get("correlation_id", ""))
        if not correlation_id:
            raise RequestRejected(Slug.VALIDATION, "Which signal? The address has no correlation_id.")
        wanted = timeline_request(values)
        try:
            found = await self._read.timeline(correlation_id, wanted)
        except TimelineTooLong:
            wanted = replace(wanted, order=TimelineOrder.LEDGER)
            found = await self._read.timeline(correlation_id, wanted)
        except InvalidPosition as error:
            raise RequestRejected(Slug.VALIDATION, str(error)) from error
        verification = None
        if "verify" in values or not found.events:
            verification = await self._read.verify(VerifyRequest(correlation_id=correlation_id))
        if not found.events and (verification is None or not verification.total_events) and not wanted.after:
            raise RequestRejected(Slug.NOT_FOUND, f"No event has the correlation {correlation_id}.")
        counted = await self._read.page(Filters(correlation_id=correlation_id), PageRequest(limit=1))
        view = timeline_view(found, wanted, counted.pagination, verification)
        return page(request, "timeline.html", view=view)

    async def event(self, request: Request) -> Response:
        """One event, its ledger row, and what a browser needs to prove it."""
        event_id: UUID = request.path_params["event_id"]
        try:
            stored = await self._read.event(event_id)
        except (ValueError, OverflowError) as error:
            detail = f"The row of event {event_id} was changed: its values cannot be read ({error})."
            raise RequestRejected(Slug.LEDGER_INCONSISTENT, detail) from error
        if stored is None:
            raise RequestRejected(Slug.NOT_FOUND, f"There is no event {event_id}.")
        keys = self._checkpointer.keys(stored.row.shard)
        view = event_view(stored, keys, list(self._witnesses.values()))
        return page(request, "event.html", view=view)

    async def ledger(self, request: Request) -> Response:
        """Every ledger: its head, its checkpoints, who signs and who cosigns."""
        checkpointer = self._checkpointer
        states = [
            LedgerState(
                shard=shard,
                head=head,
                newest=await checkpointer.newest(shard),
                served=await checkpointer.served(shard),
                keys=checkpointer.keys(shard),
                inconsistency=checkpointer.inconsistent.get(shard, ""),
            )
            for shard, head in sorted((await self._read.ledger.heads()).items())
        ]
        view = ledger_view(states, self._witnesses, self._quorum, self._read.last_verification)
        return page(request, "ledger.html", view=view)

    async def receipt(self, request: Request) -> Response:
        """The receipt as the API has it, for the script of the page, which cannot send a bearer token.

        Where there is none, for instance because no checkpoint covers the event yet, the answer is 200 with the
        `detail` of why: browsers report a 404 as an error of the page.
        """
        try:
            return await self._ledger.receipt(request)
        except RequestRejected as rejected:
            if rejected.slug is Slug.NOT_FOUND:
                return json_response({"detail": str(rejected)})
            return problem_response(request, rejected, cause=rejected.__cause__)
        except LedgerInconsistent as error:
            return problem_response(request, RequestRejected(Slug.LEDGER_INCONSISTENT, str(error)), cause=error)


async def root(request: Request) -> Response:
    """To the pages, for whoever reads HTML."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"{PREFIX}/", 303)
    raise HTTPException(404)


async def _rejected(request: Request, rejected: RequestRejected) -> Response:
    return problem_page(request, rejected)


async def _http_error(request: Request, error: HTTPException) -> Response:
    slugs = {404: Slug.NOT_FOUND, 405: Slug.METHOD_NOT_ALLOWED}
    details = {404: "There is no such page.", 405: f"{request.method} is not allowed here."}
    detail = details.get(error.status_code, error.detail)
    rejected = RequestRejected(slugs.get(error.status_code, Slug.INVALID_REQUEST), detail)
    return problem_page(request, rejected, headers=error.headers)


async def _disconnected(request: Request, _: ClientDisconnect) -> Response:
    response = problem_page(request, RequestRejected(Slug.INVALID_REQUEST, "The connection ended before the form did."))
    request.state.rejected = "client-disconnected"
    return response


async def _unavailable(request: Request, error: DataStorageError) -> Response:
    reason = f" ({error.reason})" if error.reason else ""
    detail = f"The audit log cannot be read at the moment{reason}. Nothing is lost; load the page again later."
    return problem_page(request, RequestRejected(Slug.UNAVAILABLE, detail, retry_after=RETRY_AFTER), cause=error)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=repr(error), exc_info=error)
    return problem_page(request, RequestRejected(Slug.INTERNAL, "An internal error occurred; see the server's log."))


_HANDLERS: dict[Any, Handler] = {
    RequestRejected: _rejected,
    HTTPException: _http_error,
    ClientDisconnect: _disconnected,
    DataStorageError: _unavailable,
    Exception: _unexpected,
}
