"""Problem responses: what a request gets that is not served, and who turns errors into one.

Any code that serves a request raises RequestRejected. Each service adds handlers for errors of its own, which describe
them as a RequestRejected too, so that there is one place that writes the document.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from kubernaut.api.problems import CONTENT_TYPE, Slug, problem

log = structlog.get_logger("http")

Handler = Callable[[Request, Any], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode


class RequestRejected(Exception):
    """A request that is answered with a problem document instead of being served.

    The message is the document's `detail`. `retry_after` are the seconds after which sending it again makes sense.
    """

    def __init__(
        self,
        slug: Slug,
        detail: str,
        field_errors: Mapping[str, str] | None = None,
        *,
        title: str = "",
        retry_after: int = 0,
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.field_errors = dict(field_errors or {})
        self.title = title or slug.default_title
        self.retry_after = retry_after


def application(
    routes: Sequence[BaseRoute], handlers: Mapping[type[Exception], Handler] | None = None, *, hint: str = ""
) -> Starlette:
    """The routes as an ASGI application in which every answer that is not 2xx is a problem document.

    `handlers` describe the service's own errors; `hint` tells a client with a wrong path where to look.
    """

    async def http_error(request: Request, error: HTTPException) -> Response:
        path = request.url.path[:200]
        match error.status_code:
            case 404:
                detail = f"{request.method} {path} is not served here" + (f"; {hint}" if hint else "")
                rejected = RequestRejected(Slug.NOT_FOUND, detail)
            case 405:
                allowed = (error.headers or {}).get("Allow", "")
                detail = f"{request.method} is not allowed on {path}; allowed: {allowed}"
                rejected = RequestRejected(Slug.METHOD_NOT_ALLOWED, detail)
            case _:
                rejected = RequestRejected(Slug.INVALID_REQUEST, error.detail)
        response = problem_response(request, rejected)
        response.headers.update(error.headers or {})
        return response

    defaults: dict[Any, Handler] = {
        RequestRejected: _rejected,
        HTTPException: http_error,
        ClientDisconnect: _disconnected,
        Exception: _unexpected,
    }
    return Starlette(routes=routes, exception_handlers={**defaults, **(handlers or {})})


def problem_response(
    request: Request,
    rejected: RequestRejected,
    *,
    cause: BaseException | None = None,
    members: Mapping[str, object] | None = None,
) -> Response:
    """The document for `rejected`, with further `members`.

    The text of `cause` goes to the access log and never to the client: it may name hosts and users.
    """
    slug = rejected.slug
    document: object = problem(
        slug,
        str(rejected),
        title=rejected.title,
        instance=request.url.path,
        field_errors=rejected.field_errors,
        retry=slug.status >= 500 or slug is Slug.RATE_LIMIT,
    )
    if members:
        document = msgspec.to_builtins(document) | members
    headers = {}
    if rejected.retry_after:
        headers["Retry-After"] = str(rejected.retry_after)
    request.state.rejected = slug
    if cause is not None:
        request.state.cause = str(cause)
    return Response(_encode(document), slug.status, headers, media_type=CONTENT_TYPE)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON, encoded by msgspec."""
    return Response(_encode(value), status, headers, media_type="application/json")


async def _rejected(request: Request, rejected: RequestRejected) -> Response:
    return problem_response(request, rejected)


async def _disconnected(request: Request, _: ClientDisconnect) -> Response:
    rejected = RequestRejected(Slug.INVALID_REQUEST, "the connection ended before the body did")
    response = problem_response(request, rejected)
    request.state.rejected = "client-disconnected"
    return response


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=repr(error), exc_info=error)
    return problem_response(
        request, RequestRejected(Slug.INTERNAL, "An internal error occurred; see the server's log.")
    )
