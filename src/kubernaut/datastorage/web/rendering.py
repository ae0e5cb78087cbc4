"""The pages of the audit log as responses."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from kubernaut.api.problems import Slug
from kubernaut.ops.http.problems import RequestRejected
from kubernaut.ops.web.site import Site

PREFIX = "/ui"
"""Where the pages are."""

STATIC = f"{PREFIX}/static"

_site = Site("kubernaut.datastorage.web", STATIC)

STATIC_ROUTE = _site.static_route


def page(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """A template as a response that nobody caches."""
    identity = getattr(request.state, "identity", None)
    return _site.page(template, {"identity": identity.name if identity else "", **values}, status=status)


def problem_page(
    request: Request,
    rejected: RequestRejected,
    *,
    cause: BaseException | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """What a problem document says, as a page; the text of `cause` goes to the access log and never to the client."""
    slug = rejected.slug
    request.state.rejected = slug
    if cause is not None:
        request.state.cause = str(cause)
    response = page(
        request,
        "problem.html",
        status=slug.status,
        title=rejected.title,
        status_code=slug.status,
        detail=str(rejected),
        is_temporary=slug.status == Slug.UNAVAILABLE.status,
    )
    if rejected.retry_after:
        response.headers["Retry-After"] = str(rejected.retry_after)
    response.headers.update(headers or {})
    return response
