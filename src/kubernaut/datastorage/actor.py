"""Who sends a request that is recorded under the sender's name."""

from starlette.requests import Request

from kubernaut.api.problems import Slug
from kubernaut.ops.http.problems import RequestRejected

USER_HEADER = "X-Auth-Request-User"
"""Who sends a request, where a proxy in front of a service without authentication says so."""

MAX_LENGTH = 255


def actor_of(request: Request) -> str:
    """Who sends the request, as authentication found out. Raises RequestRejected when nobody knows."""
    identity = getattr(request.state, "identity", None)
    name: str = identity.name if identity is not None else request.headers.get(USER_HEADER, "").strip()
    return checked_actor(name, USER_HEADER)


def checked_actor(name: str, source: str) -> str:
    """A name as events can have it. Raises RequestRejected with where it came from."""
    if not name:
        raise RequestRejected(Slug.UNAUTHORIZED, f"the request does not say who sends it ({source})")
    if len(name) > MAX_LENGTH or "\0" in name:
        reason = f"must have at most {MAX_LENGTH} characters and no NUL"
        raise RequestRejected(Slug.VALIDATION, f"{source}: {reason}", {source: reason})
    return name
