"""Authentication by the API server: TokenReview says whose token it is, SubjectAccessReview what they may do.

Both answers are remembered for a short time and in bounded number. Tokens are remembered as keyed hashes and never
logged. Requests that come with the same token at the same time share one review.
"""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.errors import ApiServerUnreachable, KubeError, TimedOut
from kubernaut.ops.http.auth_config import ReviewConfig
from kubernaut.ops.http.authentication import CannotAuthenticate, Identity, Permission
from kubernaut.ops.json_faults import JSON_FAULTS

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

MAX_CONNECTIONS = 8
"""Reviews in flight; further ones wait. Strangers with random tokens cannot ask for more at a time."""

FAILURE_TTL = 1.0
"""Seconds for which a review that failed is not tried again."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _UserInfo(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: _UserInfo | None = None
    audiences: list[str] | None = None


class _TokenReview(msgspec.Struct):
    status: _TokenStatus


class _AccessStatus(msgspec.Struct):
    allowed: bool = False


class _AccessReview(msgspec.Struct):
    status: _AccessStatus


_decode_token_review = msgspec.json.Decoder(_TokenReview).decode
_decode_access_review = msgspec.json.Decoder(_AccessReview).decode


class Reviews:
    """An Authenticator that asks the API server."""

    def __init__(self, client: Client, config: ReviewConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._config = config
        self._namespace = config.namespace or client.namespace
        self._hash_key = secrets.token_bytes(32)
        self._identities: ReviewCache[bytes, Identity | None] = ReviewCache(config, clock)
        self._denials: ReviewCache[tuple[Identity, Permission], str | None] = ReviewCache(config, clock)

    async def authenticate(self, token: str) -> Identity | None:
        key = hashlib.blake2b(token.encode(), key=self._hash_key, digest_size=32).digest()
        return await self._identities.get(
            key, lambda: self._review_token(token), is_positive=lambda identity: identity is not None
        )

    async def denial(self, identity: Identity, permission: Permission) -> str | None:
        return await self._denials.get(
            (identity, permission),
            lambda: self._review_access(identity, permission),
            is_positive=lambda denial: denial is None,
        )

    async def _review_token(self, token: str) -> Identity | None:
        audiences = list(self._config.audiences)
        spec = {"token": token} | ({"audiences": audiences} if audiences else {})
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = (await self._review(TOKEN_REVIEWS, body, _decode_token_review)).status
        if not status.authenticated or status.user is None or not status.user.username:
            return None
        # An authenticator that knows no audiences leaves the list empty, and has not checked for whom the token is.
        if audiences and not set(audiences) & set(status.audiences or ()):
            return None
        user = status.user
        extra = tuple((name, tuple(values)) for name, values in sorted((user.extra or {}).items()))
        return Identity(name=user.username, uid=user.uid, groups=tuple(user.groups or ()), extra=extra)

    async def _review_access(self, identity: Identity, permission: Permission) -> str | None:
        config = self._config
        attributes = {
            "namespace": self._namespace,
            "verb": _verb(config, permission),
            "group": config.group,
            "resource": config.resource,
            "name": config.name,
        }
        spec = {
            "user": identity.name,
            "uid": identity.uid,
            "groups": list(identity.groups),
            "extra": {name: list(values) for name, values in identity.extra},
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        if (await self._review(ACCESS_REVIEWS, body, _decode_access_review)).status.allowed:
            return None
        resource = ".".join(part for part in (config.resource, config.group) if part)
        return (
            f"{identity.name} has no {permission} permission: it may not {attributes['verb']} {resource} "
            f"{config.name!r} in namespace {self._namespace!r}"
        )

    async def _review(self, path: str, body: object, decode: Callable[[bytes], V]) -> V:
        try:
            try:
                content = await self._client.post_raw(path, body)
            except ApiServerUnreachable as error:
                if isinstance(error, TimedOut) or error.code:
                    raise
                # A kept-alive connection to a restarted server breaks on its next use. A review changes nothing.
                content = await self._client.post_raw(path, body)
            return decode(content)
        except (KubeError, *JSON_FAULTS) as error:
            raise CannotAuthenticate(str(error)) from error


class ReviewCache(Generic[K, V]):
    """Answers of reviews, each for a short time; the one that was not asked for the longest time goes first."""

    def __init__(self, config: ReviewConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: K, review: Callable[[], Awaitable[V]], *, is_positive: Callable[[V], bool]) -> V:
        """The answer for `key`, from a review if it is not known. Raises CannotAuthenticate."""
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        while len(self._entries) > self._config.max_cached:
            self._entries.popitem(last=False)
        if self._clock() >= entry.expires_at:
            async with entry.lock:
                if self._clock() >= entry.expires_at:
                    await self._ask(entry, review, is_positive)
        if entry.error is not None:
            raise CannotAuthenticate(entry.error)
        return entry.answers[0]

    async def _ask(
        self, entry: "_Entry[V]", review: Callable[[], Awaitable[V]], is_positive: Callable[[V], bool]
    ) -> None:
        try:
            answer = await review()
        except CannotAuthenticate as error:
            entry.error, ttl = str(error), FAILURE_TTL
        else:
            entry.answers, entry.error = (answer,), None
            ttl = self._config.cache_ttl if is_positive(answer) else self._config.negative_cache_ttl
        entry.expires_at = self._clock() + ttl


class _Entry(Generic[V]):
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.answers: tuple[V, ...] = ()  # empty before the first one
        self.error: str | None = None
        self.expires_at = float("-inf")


@asynccontextmanager
async def open_reviews(config: ReviewConfig, kubeconfig: Path | None, field_manager: str) -> AsyncIterator[Reviews]:
    """Reviews over connections of their own, so that they wait for nothing else. Raises Misconfigured."""
    client_config = ClientConfig(
        kubeconfig=kubeconfig, field_manager=field_manager, timeout=config.timeout, max_connections=MAX_CONNECTIONS
    )
    async with open_client(client_config) as client:
        yield Reviews(client, config)


def _verb(config: ReviewConfig, permission: Permission) -> str:
    match permission:
        case Permission.READ:
            return config.read_verb
        case Permission.WRITE:
            return config.write_verb
        case Permission.OPERATE:
            return config.operate_verb
