"""Signing in to the pages: a bearer token in a cookie that no script and no other site can use.

A browser sends no bearer token by itself. The sign-in page takes one, checks it, and keeps it in a cookie that is sent
to the pages only; there it becomes the bearer token of the request, so that permissions and rates are decided in one
place. The API never looks at the cookie: a form of another site could make a browser send it.
"""

import base64
import binascii
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kubernaut.api.problems import Slug
from kubernaut.datastorage.web.rendering import PREFIX, page, problem_page
from kubernaut.ops.http.authentication import Authenticator, CannotAuthenticate, Permission
from kubernaut.ops.http.body import BodyReader
from kubernaut.ops.http.problems import RequestRejected, problem_response

COOKIE = "kubernaut_token"
SIGN_IN = f"{PREFIX}/sign-in"
SIGN_OUT = f"{PREFIX}/sign-out"

MAX_TOKEN_LENGTH = 2900
"""Characters of a token; browsers drop a cookie beyond 4 KiB."""

MAX_FORM_SIZE = 16 * 1024
MAX_FORM_FIELDS = 20


class TokenCookieMiddleware:
    """Makes the token of the cookie the bearer token of requests for pages, and of no others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_page(scope["path"]):
            headers = Headers(scope=scope)
            token = _token_of(headers.get("cookie", ""))
            if token and "authorization" not in headers:
                scope.setdefault("state", {})  # the access log reads it from the outer scope
                scope = {**scope, "headers": [*scope["headers"], (b"authorization", b"Bearer " + token)]}
        await self._app(scope, receive, send)


class SignIn:
    """The routes that take a token and let go of it."""

    def __init__(self, authenticator: Authenticator | None) -> None:
        """Without an authenticator nobody needs to sign in."""
        self._authenticator = authenticator

    def routes(self) -> list[Route]:
        """Below the prefix of the pages; open to everybody."""
        return [
            Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", sign_out, methods=["POST"]),
        ]

    async def sign_in(self, request: Request) -> Response:
        """The form, or what became of it."""
        following = _following(request.query_params.get("next", ""))
        if self._authenticator is None:
            return RedirectResponse(following, 303)
        if request.method != "POST":
            return _form(request, following, "")
        token = (await read_form(request)).get("token", "").strip()
        try:
            problem, status = await self._problem(self._authenticator, token)
        except CannotAuthenticate as error:
            request.state.cause = str(error)
            problem, status = "The token cannot be checked at the moment; try again.", Slug.UNAVAILABLE.status
        if problem:
            return _form(request, following, problem, status)
        response = RedirectResponse(following, 303)
        response.set_cookie(
            COOKIE,
            base64.urlsafe_b64encode(token.encode()).decode().rstrip("="),
            path=PREFIX,
            secure=_is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def _problem(self, authenticator: Authenticator, token: str) -> tuple[str, int]:
        """Why a token is not good for reading, with the status of the answer. Raises CannotAuthenticate."""
        if not token or len(token) > MAX_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
            return f"A token has 1 to {MAX_TOKEN_LENGTH} ASCII characters and no blanks.", Slug.VALIDATION.status
        identity = await authenticator.authenticate(token)
        if identity is None:
            return "The token is invalid or has expired.", Slug.UNAUTHORIZED.status
        denial = await authenticator.denial(identity, Permission.READ)
        return (denial, Slug.FORBIDDEN.status) if denial else ("", 200)


async def sign_out(request: Request) -> Response:
    """Forget the token. Raises RequestRejected for a form of another site."""
    require_same_origin(request)
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(COOKIE, path=PREFIX, secure=_is_secure(request), httponly=True, samesite="strict")
    return response


def rejection(request: Request, rejected: RequestRejected, *, cause: BaseException | None = None) -> Response:
    """The answer to a request that may not be served: pages lead to the sign-in, other paths have problem documents."""
    if not is_page(request.scope["path"]):
        return problem_response(request, rejected, cause=cause)
    if rejected.slug is not Slug.UNAUTHORIZED or request.method not in ("GET", "HEAD"):
        return problem_page(request, rejected, cause=cause)
    request.state.rejected = rejected.slug
    if request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies:
        # A browser that follows a link of another site keeps the cookie back; asked by a page of ours, it sends it.
        return page(request, "continue.html", status=rejected.slug.status)
    query = request.scope.get("query_string", b"").decode("latin-1")
    wanted = request.scope["path"] + (f"?{query}" if query else "")
    response = RedirectResponse(f"{SIGN_IN}?{urlencode({'next': wanted})}", 303)
    if COOKIE in request.cookies:
        response.delete_cookie(COOKIE, path=PREFIX)
    return response


def is_page(path: str) -> bool:
    """Whether a path belongs to the pages."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def require_same_origin(request: Request) -> None:
    """Raise RequestRejected unless a page of this server sent the form, as the browser says."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None:
        is_ours = request.headers.get("sec-fetch-site") == "same-origin"
    else:
        is_ours = bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    if not is_ours:
        raise RequestRejected(Slug.FORBIDDEN, "The form was not sent by a page of this server; nothing was done.")


_form_body = BodyReader(MAX_FORM_SIZE, media_type="application/x-www-form-urlencoded")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form that a page of this server sent. Raises RequestRejected."""
    require_same_origin(request)
    body = await _form_body.read(request)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict")
    except ValueError as error:
        raise RequestRejected(Slug.INVALID_REQUEST, "The form cannot be read.") from error
    return dict(pairs)


def _form(request: Request, following: str, problem: str, status: int = 200) -> Response:
    if problem:
        request.state.rejected = f"sign-in-{status}"
    action = f"{SIGN_IN}?{urlencode({'next': following})}"
    return page(request, "sign_in.html", status=status, action=action, problem=problem)


def _following(wanted: str) -> str:
    """A page to go to after the sign-in, on this server and nowhere else."""
    is_safe = wanted.startswith(f"{PREFIX}/") and wanted.isprintable() and "\\" not in wanted
    return wanted if is_safe and not wanted.startswith((SIGN_IN, SIGN_OUT)) else f"{PREFIX}/"


def _is_secure(request: Request) -> bool:
    """Whether the browser came over TLS, also where a proxy in front ends it."""
    return "https" in (request.url.scheme, urlsplit(request.headers.get("origin", "")).scheme)


def _token_of(cookies: str) -> bytes:
    encoded = cookie_parser(cookies).get(COOKIE, "")
    try:
        token = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return token if token.isascii() and token.decode().isprintable() else b""
