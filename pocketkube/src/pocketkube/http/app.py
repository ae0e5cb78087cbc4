"""The ASGI application: routes, authentication, errors."""

import base64
import hmac
import logging
from collections.abc import Iterable
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketkube.http.documents import PREFIX, Documents
from pocketkube.http.endpoints import Endpoints
from pocketkube.http.responses import error_response
from pocketkube.kubeconfig import USER, path_prefix
from pocketkube.status import ApiError, method_not_allowed, path_not_found

_UNAUTHENTICATED_PATHS = frozenset({"healthz", "readyz", "livez", "version"})
_HEALTH = ("healthz", "livez", "readyz")
_RESTS = ("", "/{rest:path}")
_ROOTS = ("/api/{version}/{plural}", "/apis/{group}/{version}/{plural}")
_RESOURCE_PATHS = [root + rest for root in _ROOTS for rest in _RESTS]
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

log = logging.getLogger(__name__)


def create_app(endpoints: Endpoints, documents: Documents, tokens: Iterable[str]) -> Starlette:
    """Return the application; whoever has one of the tokens may do everything."""
    app = Starlette(
        routes=[
            *(Route(path, endpoints.resource, methods=_METHODS) for path in _RESOURCE_PATHS),
            Route("/api", documents.core_discovery),
            Route("/api/{version:path}", documents.core_discovery),
            Route("/apis", documents.discovery),
            Route("/apis/{path:path}", documents.discovery),
            Route("/openapi/v2", documents.openapi_v2),
            Route("/openapi/v3", documents.openapi_v3),
            Route("/openapi/v3/{path:path}", documents.openapi_v3),
            Route("/version", documents.version),
            *(Route(f"/{name}{rest}", documents.health) for name in _HEALTH for rest in _RESTS),
            Route("/", documents.paths),
        ],
        middleware=[Middleware(_Authentication, tokens=tokens), Middleware(_UnexpectedErrors)],
        exception_handlers={ApiError: _on_api_error, HTTPException: _on_http_error, ClientDisconnect: _on_disconnect},
    )
    app.router.redirect_slashes = False
    return app


class _Authentication:
    """Lets requests pass that prove knowledge of a token, by a header or by the beginning of the path."""

    def __init__(self, app: ASGIApp, tokens: Iterable[str]) -> None:
        self._app = app
        tokens = list(tokens)
        self._credentials = [form for token in tokens for form in credentials(token)]
        self._prefixes = [path_prefix(token).encode() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: bytes = scope["raw_path"]
        prefix = self._prefix_of(raw_path)
        raw_path = raw_path[len(prefix) :].rstrip(b"/") or b"/"
        # Nobody reads a resource's name from here: the endpoints split the raw path before they decode it.
        path = unquote(raw_path.decode("ascii"))
        scope = {**scope, "path": path, "raw_path": raw_path, PREFIX: prefix.decode()}
        if prefix or path.split("/", 2)[1] in _UNAUTHENTICATED_PATHS or self._is_authenticated(scope):
            await self._app(scope, receive, send)
            return
        await error_response(ApiError(401, "Unauthorized", "Unauthorized"))(scope, receive, send)

    def _is_authenticated(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return any(hmac.compare_digest(given, known) for known in self._credentials)

    def _prefix_of(self, raw_path: bytes) -> bytes:
        if raw_path.startswith(b"/token/"):
            for prefix in self._prefixes:
                head, rest = raw_path[: len(prefix)], raw_path[len(prefix) : len(prefix) + 1]
                if rest in {b"", b"/"} and hmac.compare_digest(head, prefix):
                    return prefix
        return b""


class _UnexpectedErrors:
    """Logs an unexpected error and answers 500, if nothing has been answered yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def track(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, track)
        except Exception as error:
            log.exception("request failed: %s %s", scope["method"], scope["path"])
            if not started:
                message = f"Internal error occurred: {type(error).__name__}: {error}"
                await error_response(ApiError(500, "InternalError", message))(scope, receive, send)


def credentials(token: str) -> list[bytes]:
    """Return the Authorization headers that prove knowledge of the token."""
    basic = base64.b64encode(f"{USER}:{token}".encode())
    return [b"Bearer " + token.encode(), b"Basic " + basic]


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for this class only
    return error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    is_method = isinstance(error, HTTPException) and error.status_code == 405
    return error_response(method_not_allowed() if is_method else path_not_found())


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it
