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


class Site:
    """The templates and static files of one package, with the skeleton, style sheet and icon that all pages have."""

    def __init__(self, package: str, static: str) -> None:
        """`package` has the folders `templates` and `static`; `static` is the path below which files are served."""
        self._files = {**_static_files("kubernaut.ops.web"), **_static_files(package)}
        content = b"".join(content for _, content in sorted(self._files.items()))
        self._version = hashlib.sha256(content).hexdigest()[:16]
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("kubernaut.ops.web")]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_output,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["time"] = _time
        self._environment.globals["static"] = f"{static}/{self._version}"
        self.static_route = Route("/static/{version}/{name}", self._static_file, methods=["GET"])

    def page(self, template: str, values: Mapping[str, object], *, status: int = 200) -> Response:
        """A template as a response that nobody caches."""
        text = self._environment.get_template(template).render(values)
        headers = HEADERS | {"Cache-Control": "no-store"}
        return Response(text, status, headers, media_type="text/html; charset=utf-8")

    async def _static_file(self, request: Request) -> Response:
        """A style sheet, script or picture of ours. Raises RequestRejected."""
        name, version = request.path_params["name"], request.path_params["version"]
        content = self._files.get(name)
        if content is None:
            raise RequestRejected(Slug.NOT_FOUND, "there is no such file")
        # A page of another version asks for files of its version while replicas are replaced.
        caching = _FOR_EVER if version == self._version else "no-store"
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(content, headers=HEADERS | {"Cache-Control": caching}, media_type=media_type)


def _static_files(package: str) -> dict[str, bytes]:
    folder = resources.files(package).joinpath("static")
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


def _output(value: object) -> object:
    return visible(value) if type(value) is str else value


def _time(moment: datetime) -> str:
    """A time as people read it, in UTC, to the microsecond only where that says something."""
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment:%f}" if moment.microsecond else "")
