"""Who sends a request, and may they: bearer tokens, permissions and rate limits in front of an application.

Health and metrics are open; everything else needs a token, also a path that nobody serves, so that a stranger learns
nothing of the service. While tokens cannot be checked the answer is 503 and never 401: an Alertmanager drops a
notification that was answered with a 4xx, and the outage of an API server must not cost an alert.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from math import ceil
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kubernaut.api.problems import Slug
from kubernaut.ops.http.cross_site import cross_site_reason
from kubernaut.ops.http.problems import RequestRejected, problem_response
from kubernaut.ops.http.rate_limit import MAX_BUCKETS, RateLimiter

RETRY_AFTER = 5
"""Seconds after which a request whose token could not be checked should come again."""

CHALLENGE = 'Bearer realm="kubernaut"'


class Permission(StrEnum):
    """What a request needs; readers, writers and operators are permitted separately."""

    READ = "read"
    WRITE = "write"
    OPERATE = "operate"
    """Place and release legal holds, and erase."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose token it is, with the fields of Kubernetes' UserInfo."""

    name: str
    """Such as `system:serviceaccount:kubernaut:gateway`."""

    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class CannotAuthenticate(Exception):
    """Tokens or permissions cannot be checked at the moment; the text says why and never holds a token."""


class Authenticator(Protocol):
    """Who checks tokens. Both methods raise CannotAuthenticate."""

    async def authenticate(self, token: str) -> Identity | None:
        """Whose token it is; None when it is nobody's."""

    async def denial(self, identity: Identity, permission: Permission) -> str | None:
        """Why somebody lacks a permission; None when they have it."""


class Rejection(Protocol):
    """How a request that may not be served is answered."""

    def __call__(
        self, request: Request, rejected: RequestRejected, *, cause: BaseException | None = None
    ) -> Response: ...


@dataclass(frozen=True, kw_only=True)
class AccessRules:
    """What one service demands of its clients."""

    permission_for: Callable[[str, str], Permission | None]
    """The permission that a method and a path need; None when they are open to everybody."""

    rate_limiter: RateLimiter

    failure_limiter: RateLimiter
    """Takes one for each token of an address that is nobody's."""

    rate_limit_slug: Slug
    """The answer to a client that exceeds its rate: a 503 where clients do not retry a 429."""

    rejection: Rejection = problem_response
    """What a client gets that may not do what it asks for; a program gets a problem document."""


class AuthenticationMiddleware:
    """Lets a request through to `app` when its sender may send it; the application finds them in `state.identity`."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator | None, rules: AccessRules) -> None:
        """Without an authenticator everybody may do everything, except web pages of other sites, and a client is known
        by its address."""
        self._app = app
        self._authenticator = authenticator
        self._rules = rules
        self._accepted = _AcceptedTokens()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            permission = self._rules.permission_for(scope["method"], scope["path"])
            if permission is not None and (response := await self._rejection(scope, permission)) is not None:
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _rejection(self, scope: Scope, permission: Permission) -> Response | None:
        request = Request(scope)
        client = scope.get("client")
        name = f"address {client[0]}" if client else ""
        if self._authenticator is not None:
            try:
                identity = await self._authenticate(self._authenticator, scope, permission, name)
            except RequestRejected as rejected:
                response = self._rules.rejection(request, rejected, cause=rejected.__cause__)
                if rejected.slug is Slug.UNAUTHORIZED:
                    error = ', error="invalid_token"' if "authorization" in request.headers else ""
                    response.headers["WWW-Authenticate"] = CHALLENGE + error
                return response
            request.state.identity = identity
            name = identity.name
        elif reason := cross_site_reason(request.headers, is_write=permission is not Permission.READ):
            return self._rules.rejection(request, RequestRejected(Slug.FORBIDDEN, reason))
        exceeded = self._rules.rate_limiter.check(name)
        if exceeded is None:
            return None
        detail, retry_after = f"{exceeded.reason}; wait, and send it again", max(1, ceil(exceeded.delay))
        too_many = RequestRejected(self._rules.rate_limit_slug, detail, retry_after=retry_after)
        return self._rules.rejection(request, too_many)

    async def _authenticate(
        self, authenticator: Authenticator, scope: Scope, permission: Permission, address: str
    ) -> Identity:
        """The sender of a request, who has the permission. Raises RequestRejected."""
        token = _bearer_token(Headers(scope=scope))
        limiter = self._rules.failure_limiter
        # Others may share the address, as behind a proxy; whose token is known is not held up.
        if token not in self._accepted and (wait := limiter.wait(address)):
            detail = f"{address} has sent too many invalid bearer tokens; wait, and send the request again"
            raise RequestRejected(self._rules.rate_limit_slug, detail, retry_after=max(1, ceil(wait)))
        try:
            identity = await authenticator.authenticate(token)
            if identity is None:
                self._accepted.discard(token)
                limiter.check(address)
                raise RequestRejected(Slug.UNAUTHORIZED, "the bearer token is invalid or has expired")
            self._accepted.add(token)
            denial = await authenticator.denial(identity, permission)
        except CannotAuthenticate as error:
            detail = "the bearer token cannot be checked at the moment; send the request again"
            raise RequestRejected(Slug.UNAVAILABLE, detail, retry_after=RETRY_AFTER) from error
        if denial is not None:
            raise RequestRejected(Slug.FORBIDDEN, denial)
        return identity


class _AcceptedTokens:
    """Tokens that were accepted before, by their hashes; the oldest are forgotten."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, token: str) -> bool:
        return _digest(token) in self._digests

    def add(self, token: str) -> None:
        """Remember the token."""
        self._digests[_digest(token)] = None
        if len(self._digests) > MAX_BUCKETS:
            self._digests.popitem(last=False)

    def discard(self, token: str) -> None:
        """Forget a token that is no longer accepted."""
        self._digests.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()


def _bearer_token(headers: Headers) -> str:
    values = headers.getlist("authorization")
    if not values:
        raise RequestRejected(Slug.UNAUTHORIZED, "the request has no Authorization header; send a bearer token")
    scheme, _, token = values[0].strip().partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise RequestRejected(Slug.UNAUTHORIZED, "one Authorization header of the form 'Bearer TOKEN' is expected")
    return token.strip()
