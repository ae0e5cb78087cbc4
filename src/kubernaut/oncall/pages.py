"""The routes of the on-call page, all below a path that only its reader knows."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from kubernaut.api.vocabulary import EventType, Priority
from kubernaut.audit import AuditError, DataStorageClient
from kubernaut.oncall.board import UNDECIDED, Filters, InvalidFilter, board, parse_filters
from kubernaut.oncall.source import Source
from kubernaut.ops.http.cross_site import cross_site_reason
from kubernaut.ops.http.problems import Handler, RequestRejected
from kubernaut.ops.web.site import HEADERS, Site


class Pages:
    """The page over one source, with links to the pages of the DataStorage at `store_url`."""

    def __init__(self, source: Source, store: DataStorageClient, store_url: str, place: str) -> None:
        """`place` says whose signals these are, such as `all namespaces`."""
        self.path = f"/{secrets.token_urlsafe(24)}/"
        self._site = Site("kubernaut.oncall", f"{self.path}static")
        self._source = source
        self._store = store
        self._store_url = store_url.rstrip("/")
        self._place = place

    def application(self) -> ASGIApp:
        """The ASGI application; it answers nobody who does not know the path."""
        routes = [
            Route("/", self.signals, methods=["GET"]),
            Route("/changes", self.changes, methods=["GET"]),
            Route("/proof", self.proof, methods=["GET"]),
            self._site.static_route,
        ]
        handlers: dict[Any, Handler] = {RequestRejected: self._rejected, HTTPException: self._http_error}
        mounted = Mount(self.path.rstrip("/"), ExceptionMiddleware(Router(routes, redirect_slashes=False), handlers))
        return _Guard(Starlette(routes=[mounted, Route("/{path:path}", _no_such_path)]))

    async def signals(self, request: Request) -> Response:
        """The open signals that the filters of the address take."""
        problem, filters = "", Filters()
        try:
            filters = parse_filters(request.query_params.multi_items())
        except InvalidFilter as error:
            problem = str(error)
        now = datetime.now(UTC)
        signals = [] if problem else self._source.open_signals()
        values = {
            "board": board(signals, filters, now, self._store_url),
            "filters": filters,
            "teams": sorted(filters.teams),
            "priorities": [UNDECIDED, *(each.value for each in Priority)],
            "problem": problem,
            "source": self._source,
            "place": self._place,
            "store_url": self._store_url,
            "now": now,
            "path": self.path,
        }
        return self._site.page("oncall.html", values, status=400 if problem else 200)

    async def changes(self, request: Request) -> Response:
        """Server-sent events: one at each change of anything that the page may show."""
        del request
        headers = HEADERS | {"Cache-Control": "no-store"}
        return StreamingResponse(self._stream(), headers=headers, media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        changes = self._source.changes
        seen = -1
        yield "retry: 2000\n\n"
        while not changes.is_closed:
            await changes.wait(seen)
            seen = changes.number
            yield f"event: change\ndata: {seen}\n\n"

    async def proof(self, request: Request) -> Response:
        """To the page on which the browser proves the decision about a signal."""
        correlation = request.query_params.get("correlation_id", "")
        if not correlation:
            raise HTTPException(400, "Which signal? The address has no correlation_id.")
        filters: dict[str, str | int] = {
            "correlation_id": correlation,
            "event_type": EventType.CLASSIFICATION_DECISION,
            "limit": 1,
        }
        try:
            found = (await self._store.query(filters)).data
        except AuditError as error:
            raise HTTPException(503, f"DataStorage does not answer: {error}") from error
        if not found:
            raise HTTPException(404, f"DataStorage has no decision about {correlation} yet; try again in a moment.")
        return RedirectResponse(f"{self._store_url}/ui/events/{found[0].event_id}", 303, headers=HEADERS)

    async def _rejected(self, _: Request, rejected: RequestRejected) -> Response:
        return self._failure(rejected.slug.status, str(rejected))

    async def _http_error(self, _: Request, error: HTTPException) -> Response:
        return self._failure(error.status_code, error.detail)

    def _failure(self, status: int, text: str) -> Response:
        return self._site.page("failure.html", {"text": text, "path": self.path}, status=status)


async def _no_such_path(_: Request) -> Response:
    text = "Not here. Open the whole address that `kubernaut oncall` printed; it is another one at each start.\n"
    return PlainTextResponse(text, 404, headers=HEADERS)


class _Guard:
    """Refuses what the page of another site may have sent: its Host is not a local name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if cross_site_reason(request.headers, is_write=False) is not None:
            text = "Only 127.0.0.1 and localhost are served. Open the address that `kubernaut oncall` printed.\n"
            await PlainTextResponse(text, 403, headers=HEADERS)(scope, receive, send)
            return
        await self._app(scope, receive, send)
