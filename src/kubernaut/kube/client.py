"""One request to an API server, as bytes in and narrow objects out.

lightkube finds the server and signs the requests. Its typed client is not used, because it decodes watch events five
times slower than msgspec decodes them into a narrow type, and offers no bookmarks.

A call is one request: whoever calls knows whether its deadline allows another try, and a write that got no answer may
have happened. Only reads repeat a request whose connection broke, for a kept-alive connection to a restarted server
breaks on its next use, and that is nobody's outage.

Watches have connections of their own. Each holds one for minutes, and in a shared pool a few dozen would starve the
calls.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx2
import msgspec
import stamina
from lightkube.core.exceptions import ConfigError

from kubernaut.kube.credentials import connection, read_config
from kubernaut.kube.errors import (
    Gone,
    KubeError,
    Silent,
    TimedOut,
    Unauthorized,
    Unreachable,
    from_response,
    from_transport,
)
from kubernaut.kube.objects import Key, Kind, KubeObject, Raw, key_of, to_body
from kubernaut.kube.wire import Listing, WatchEvent, decode_items, page, watch_event, watch_lines

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    kubeconfig: Path | None = None
    """None: the service account of the pod we run in."""
    context: str | None = None
    """None: the current context of the file."""
    field_manager: str = "kubernaut"
    """The name under which the server records what we wrote."""
    timeout: float = 10.0  # seconds
    """For one call, except a watch."""
    connections: int = 32
    """Calls in flight at a time; more wait for up to `timeout`. Watches are not counted."""
    page: int = 500
    """Objects fetched at a time by a list."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which objects of a kind: all, those of one namespace, those with certain labels or fields."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        query = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in query.items() if value}


EVERYTHING = Selection()


class PatchType(StrEnum):
    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    APPLY = "application/apply-patch+yaml"  # JSON is YAML


class Client:
    """The API server as one user sees it. Every method raises a `KubeError`; none waits without a limit."""

    def __init__(
        self, calls: httpx2.AsyncClient, watches: httpx2.AsyncClient, config: ClientConfig, namespace: str
    ) -> None:
        self._calls = calls
        self._watches = watches
        self._root = str(calls.base_url).rstrip("/")
        self.config = config
        self.namespace = namespace
        """The namespace of the kubeconfig's context."""

    @property
    def url(self) -> str:
        return self._root

    async def get(self, kind: Kind[T], key: Key) -> T:
        return _fit(kind, await self.read(kind.path(key)))

    async def list(self, kind: Kind[T], selection: Selection = EVERYTHING) -> Listing[T]:
        """All selected objects at one resourceVersion, fetched page by page; an undecodable one is left out, logged."""
        path = kind.collection(selection.namespace)
        query = selection.query()
        try:
            return await self._paged(kind, path, query | {"limit": str(self.config.page)})
        except Gone:
            # The server forgot the state we were paging through. In one piece it cannot happen again.
            return await self._paged(kind, path, query)

    async def create(self, kind: Kind[T], obj: KubeObject | Raw) -> T:
        """Raises `AlreadyExists`. The namespace is that of the object's metadata."""
        path = kind.collection(key_of(obj).namespace)
        if kind.namespaced and not key_of(obj).namespace:
            raise ValueError(f"{kind.kind} {key_of(obj).name!r} needs a namespace")
        return _fit(kind, await self._send("POST", path, to_body(kind, obj), self._as_manager()))

    async def replace(self, kind: Kind[T], obj: KubeObject | Raw) -> T:
        """Writes the whole object: give it whole, never a narrow one. `Conflict` when its resourceVersion is old."""
        path = kind.path(key_of(obj))
        return _fit(kind, await self._send("PUT", path, to_body(kind, obj), self._as_manager()))

    async def patch(
        self,
        kind: Kind[T],
        key: Key,
        body: Mapping[str, Any] | Sequence[Any],
        how: PatchType = PatchType.MERGE,
        subresource: str = "",
    ) -> T:
        """Change part of an object; a `metadata.resourceVersion` in the body makes a stale change a `Conflict`."""
        query = self._as_manager()
        content: object = body
        if how is PatchType.APPLY:
            query["force"] = "true"
            content = to_body(kind, body)
        path = kind.path(key, subresource)
        return _fit(kind, await self._send("PATCH", path, content, query, how))

    async def patch_status(self, kind: Kind[T], obj: KubeObject, status: object) -> T:
        """Merge `status` into the object's status; `Conflict` unless `obj` is its newest state.

        A field that is None in a mapping is removed; fields that are absent stay.
        """
        body = {"metadata": {"resourceVersion": obj.metadata.resource_version}, "status": status}
        path = kind.path(key_of(obj), "status")
        return _fit(kind, await self._send("PATCH", path, body, self._as_manager(), PatchType.MERGE))

    async def delete(self, kind: Kind[Any], key: Key, *, only: KubeObject | None = None) -> None:
        """Ask for the object's deletion; with `only`, `Conflict` unless it is still that very object and unchanged."""
        options: Raw = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if only is not None:
            metadata = only.metadata
            options["preconditions"] = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        await self._send("DELETE", kind.path(key), options)

    async def watch(
        self,
        kind: Kind[T],
        since: str,
        selection: Selection = EVERYTHING,
        *,
        lasts: float = 300.0,
        silence: float = 75.0,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """What happened since a resourceVersion, until the server ends the watch after `lasts` seconds.

        Begins with a bookmark of our own once the server has agreed. Raises `Gone` when that far back is not kept,
        `Silent` after `silence` seconds without a word (bookmarks come each minute while anything moves), `Unreachable`
        when the connection breaks. Close it with `aclosing`.
        """
        query = selection.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(max(1, round(lasts))),
        }
        path = kind.collection(selection.namespace)
        what = f"WATCH {path}"
        # Connecting gives up before the limit around it does: a cancelled TLS handshake leaves its socket open.
        limits = httpx2.Timeout(self.config.timeout / 2, read=silence)
        request = self._watches.build_request("GET", path, params=query, timeout=limits)
        response: httpx2.Response | None = None
        try:
            async with asyncio.timeout(self.config.timeout):
                response = await self._watches.send(request, stream=True)
                if response.is_error:
                    await response.aread()
                    raise from_response(response)
            yield WatchEvent("BOOKMARK", None, since)
            async with aclosing(watch_lines(response.aiter_bytes())) as lines:
                async for line in lines:
                    yield watch_event(kind, line, what)
        except httpx2.ReadTimeout as error:
            raise Silent(f"{what}: silent for {silence:g} s") from error
        except TimeoutError as error:
            raise TimedOut(f"{what}: no answer in {self.config.timeout:g} s") from error
        except httpx2.TransportError as error:
            raise from_transport(error, what) from error
        except ConfigError as error:
            raise Unauthorized(f"{what}: {error}") from error
        finally:
            if response is not None:
                await response.aclose()

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """GET any path of the server; a connection that breaks is tried again, twice at most."""
        async for attempt in stamina.retry_context(on=_broke, attempts=3, wait_initial=0.05, wait_jitter=0.05):
            with attempt:
                return await self._request("GET", path, query)
        raise AssertionError("unreachable")

    async def post(self, path: str, body: object) -> bytes:
        """POST to any path of the server, for reviews and the like; never repeated."""
        return await self._send("POST", path, body)

    async def _paged(self, kind: Kind[T], path: str, query: Mapping[str, str]) -> Listing[T]:
        read = page(await self.read(path, query))
        items = decode_items(kind, read)
        while read.token:
            read = page(await self.read(path, {**query, "continue": read.token}))
            items += decode_items(kind, read)
        return Listing(items=items, resource_version=read.metadata.resource_version)

    async def _send(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        content = msgspec.json.encode(body)
        return await self._request(method, path, query, content, content_type)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str = "",
    ) -> bytes:
        # A whole URL spares httpx2 from joining one, which costs a tenth of a call.
        url = f"{self._root}{path}?{urlencode(query)}" if query else f"{self._root}{path}"
        headers = {"content-type": content_type} if content_type else None
        try:
            response = await self._calls.request(method, url, content=content, headers=headers)
        except httpx2.TransportError as error:
            raise from_transport(error, f"{method} {path}") from error
        except ConfigError as error:  # a token file that vanished
            raise Unauthorized(f"{method} {path}: {error}") from error
        if not response.is_success:
            raise from_response(response)
        return response.content

    def _as_manager(self) -> dict[str, str]:
        return {"fieldManager": self.config.field_manager}


@asynccontextmanager
async def open_client(config: ClientConfig) -> AsyncIterator[Client]:
    """A client for the cluster that the configuration names; raises `Misconfigured`. It does not connect yet."""
    single = read_config(config.kubeconfig, config.context)
    arguments = connection(single, config.timeout)
    arguments["timeout"] = httpx2.Timeout(config.timeout)
    arguments["headers"] = {
        "accept": "application/json",
        # Compressing costs the server more than the bytes cost a network inside a cluster.
        "accept-encoding": "identity",
        "user-agent": config.field_manager,
    }
    limits = httpx2.Limits(
        max_connections=config.connections, max_keepalive_connections=config.connections, keepalive_expiry=60.0
    )
    unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=2, keepalive_expiry=5.0)
    async with (
        httpx2.AsyncClient(**arguments, limits=limits) as calls,
        httpx2.AsyncClient(**arguments, limits=unlimited) as watches,
    ):
        yield Client(calls, watches, config, single.namespace)


def _broke(error: Exception) -> bool:
    # Not after a timeout: the caller has waited long enough. Not when a server asked to be left alone for a while.
    return isinstance(error, Unreachable) and not isinstance(error, TimedOut) and not error.code


def _fit(kind: Kind[T], data: bytes) -> T:
    try:
        return kind.decode(data)
    except msgspec.DecodeError as error:
        raise KubeError(f"{kind}: the server's object does not fit {kind.type.__name__}: {error}") from error
