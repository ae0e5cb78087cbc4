"""Templates to responses: escaping, security headers and static files.

Every text that a template puts out passes `visible` and then HTML escaping; templates have no way around either.
"""

import hashlib
import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources

import jinja2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubernaut.api.problems import Slug
from kubernaut.ops.http.problems import RequestRejected
from kubernaut.ops.visible_text import visible

PREFIX = "/ui"
"""Where the pages are."""

STATIC = f"{PREFIX}/static"

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # With no-referrer a browser would send no origin with a form, and forms are accepted from this origin only.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"


def _static_files() -> dict[str, bytes]:
    folder = resources.files("kubernaut.datastorage.web").joinpath("static")
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


_FILES = _static_files()
_VERSION = hashlib.sha256(b"".join(content for _, content in sorted(_FILES.items()))).hexdigest()[:16]


def _output(value: object) -> object:
    return visible(value) if type(value) is str else value


def _time(moment: datetime) -> str:
    """A time as people read it, in UTC, to the microsecond only where that says something."""
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment:%f}" if moment.microsecond else "")


_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("kubernaut.datastorage.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_output,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["time"] = _time
_environment.globals["static"] = f"{STATIC}/{_VERSION}"


def page(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """A template as a response that nobody caches."""
    identity = getattr(request.state, "identity", None)
    text = _environment.get_template(template).render(identity=identity.name if identity else "", **values)
    headers = HEADERS | {"Cache-Control": "no-store"}
    return Response(text, status, headers, media_type="text/html; charset=utf-8")


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


async def static_file(request: Request) -> Response:
    """A style sheet, script or picture of ours. Raises RequestRejected."""
    name, version = request.path_params["name"], request.path_params["version"]
    content = _FILES.get(name)
    if content is None:
        raise RequestRejected(Slug.NOT_FOUND, "there is no such file")
    # A page of another version asks for files of its version while replicas are replaced.
    caching = _FOR_EVER if version == _VERSION else "no-store"
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, headers=HEADERS | {"Cache-Control": caching}, media_type=media_type)


STATIC_ROUTE = Route("/static/{version}/{name}", static_file, methods=["GET"])
