"""Requests to an API server, decoded by msgspec.

lightkube reads the configuration and authenticates the requests. Its typed client is not used, because it decodes watch
events five times slower than msgspec does, and offers no bookmarks.

A call is one request: the caller knows whether its deadline allows a retry, and a write without a response may have
happened. Only reads are retried when their connection breaks, because a kept-alive connection to a restarted server
breaks on its next use, which is no outage.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import stamina

from kubernaut.kube.connection import Connection, ConnectionConfig, open_connection
from kubernaut.kube.credentials import connection_parameters, read_config
from kubernaut.kube.errors import ApiServerUnreachable, Gone, KubeError, TimedOut
from kubernaut.kube.flow_control import TokenBucket
from kubernaut.kube.objects import Key, Kind, KubeObject, Unstructured, key_of, to_body
from kubernaut.kube.reachability import Reachability
from kubernaut.kube.wire import (
    ObjectList,
    UndecodableHandler,
    WatchEvent,
    decode_items,
    decode_page,
    decode_watch_event,
    ignore_undecodable,
    split_lines,
)
from kubernaut.ops.json_faults import JSON_FAULTS

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    kubeconfig: Path | Sequence[Path] | None = None
    """A file, or several that are merged as kubectl does. None: the service account of the pod."""
    context: str | None = None
    """None: the current context of the file."""
    field_manager: str = "kubernaut"
    """The name under which the server records our writes."""
    timeout: float = 10.0  # seconds
    """For one call, except a watch."""
    max_connections: int = 32
    """Calls in flight at a time; more wait for up to `timeout`. Watches are not counted."""
    write_qps: float = 0.0
    """Writes per second in the long run, as client-go's QPS; 0 is unlimited."""
    write_burst: int = 10
    """Writes at once; more wait."""
    page_size: int = 500
    """Objects per page of a list."""


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Which objects of a kind to list or watch: all, those of a namespace, those that selectors match."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    def query(self) -> dict[str, str]:
        query = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in query.items() if value}


EVERYTHING = ListOptions()


class PatchType(StrEnum):
    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    APPLY = "application/apply-patch+yaml"  # JSON is YAML


class Client:
    """The API server as one user sees it. Every method raises a `KubeError`; none waits without a limit."""

    def __init__(self, connection: Connection, config: ClientConfig, namespace: str) -> None:
        self._connection = connection
        self._writes = TokenBucket(config.write_qps, config.write_burst)
        self.config = config
        self.namespace = namespace
        """The namespace of the kubeconfig's context."""
        self.reachability = Reachability()
        """Whether the lists and watches of this client get answers."""
        self.on_undecodable: UndecodableHandler = ignore_undecodable
        """Called for each object of a list or a watch that does not fit its type."""

    @property
    def url(self) -> str:
        return self._connection.url

    async def get(self, kind: Kind[T], key: Key) -> T:
        return _decode(kind, await self.get_raw(kind.path(key)))

    async def list(self, kind: Kind[T], options: ListOptions = EVERYTHING) -> ObjectList[T]:
        """All selected objects at one resourceVersion, fetched in pages; undecodable ones are logged and skipped."""
        path = kind.collection(options.namespace)
        query = options.query()
        try:
            return await self._list_pages(kind, path, query | {"limit": str(self.config.page_size)})
        except Gone:
            # The continue token has expired. In one piece it cannot happen again.
            return await self._list_pages(kind, path, query)

    async def create(self, kind: Kind[T], obj: KubeObject | Unstructured) -> T:
        """Raises `AlreadyExists`. The namespace is that of the object's metadata."""
        path = kind.collection(key_of(obj).namespace)
        if kind.namespaced and not key_of(obj).namespace:
            raise ValueError(f"{kind.kind} {key_of(obj).name!r} needs a namespace")
        return _decode(kind, await self._send("POST", path, to_body(kind, obj), self._field_manager()))

    async def replace(self, kind: Kind[T], obj: KubeObject | Unstructured) -> T:
        """Writes the whole object, so it must be complete. `Conflict` when its resourceVersion is not the newest."""
        path = kind.path(key_of(obj))
        return _decode(kind, await self._send("PUT", path, to_body(kind, obj), self._field_manager()))

    async def patch(
        self,
        kind: Kind[T],
        key: Key,
        body: Mapping[str, Any] | Sequence[Any],
        patch_type: PatchType = PatchType.MERGE,
        subresource: str = "",
    ) -> T:
        """Change part of an object; a `metadata.resourceVersion` in the body makes a stale change a `Conflict`."""
        query = self._field_manager()
        content: object = body
        if patch_type is PatchType.APPLY:
            query["force"] = "true"
            content = to_body(kind, body)
        path = kind.path(key, subresource)
        return _decode(kind, await self._send("PATCH", path, content, query, patch_type))

    async def patch_status(self, kind: Kind[T], obj: KubeObject, status: object) -> T:
        """Merge `status` into the object's status; `Conflict` unless `obj` is its newest state.

        A field that is None in a mapping is removed; fields that are absent stay.
        """
        body = {"metadata": {"resourceVersion": obj.metadata.resource_version}, "status": status}
        path = kind.path(key_of(obj), "status")
        return _decode(kind, await self._send("PATCH", path, body, self._field_manager(), PatchType.MERGE))

    async def delete(self, kind: Kind[Any], key: Key, *, precondition: KubeObject | None = None) -> None:
        """Delete the object; with `precondition`, `Conflict` unless it is still that object, and unchanged."""
        options: Unstructured = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if precondition is not None:
            metadata = precondition.metadata
            options["preconditions"] = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        await self._send("DELETE", kind.path(key), options)

    async def watch(
        self,
        kind: Kind[T],
        resource_version: str,
        options: ListOptions = EVERYTHING,
        *,
        timeout: float = 300.0,
        idle_timeout: float = 75.0,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """The changes after a resourceVersion, until the server ends the watch after `timeout` seconds.

        Begins with a bookmark of our own once the server has accepted it. Raises `Gone` when the resourceVersion has
        expired, `IdleTimeout` when nothing arrived for `idle_timeout` seconds (servers send a bookmark each minute
        while anything changes), `ApiServerUnreachable` when the connection breaks. Close it with `aclosing`.
        """
        query = options.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout))),
        }
        path = kind.collection(options.namespace)
        operation = f"WATCH {path}"
        async with self._connection.stream(path, query, operation, idle_timeout) as parts:
            yield WatchEvent("BOOKMARK", None, resource_version)
            async with aclosing(split_lines(parts)) as lines:
                async for line in lines:
                    yield decode_watch_event(kind, line, operation, self.on_undecodable)

    async def get_raw(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """GET any path of the server; retried at most twice when the connection breaks."""
        return await _retry_reads(self._connection.request, "GET", path, query)

    async def server_time(self) -> datetime | None:
        """What time it is by the API server's clock, to the second; None where it does not tell."""
        return await self._connection.server_time("/version")

    async def post_raw(self, path: str, body: object) -> bytes:
        """POST to any path of the server, for reviews and the like; never retried."""
        return await self._send("POST", path, body)

    async def _list_pages(self, kind: Kind[T], path: str, query: Mapping[str, str]) -> ObjectList[T]:
        page = decode_page(await self.get_raw(path, query))
        items = decode_items(kind, page, self.on_undecodable)
        while page.continue_token:
            page = decode_page(await self.get_raw(path, {**query, "continue": page.continue_token}))
            items += decode_items(kind, page, self.on_undecodable)
        return ObjectList(items=items, resource_version=page.metadata.resource_version)

    async def _send(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        content = msgspec.json.encode(body)
        await self._writes.acquire()
        return await self._connection.request(method, path, query, content, content_type)

    def _field_manager(self) -> dict[str, str]:
        return {"fieldManager": self.config.field_manager}


@asynccontextmanager
async def open_client(config: ClientConfig) -> AsyncIterator[Client]:
    """A client for the cluster that the configuration names; raises `Misconfigured`. It does not connect yet."""
    single = read_config(config.kubeconfig, config.context)
    connecting = ConnectionConfig(
        **connection_parameters(single, config.timeout),
        user_agent=config.field_manager,
        timeout=config.timeout,
        max_connections=config.max_connections,
    )
    async with open_connection(connecting) as connection:
        yield Client(connection, config, single.namespace)


def _is_broken_connection(error: Exception) -> bool:
    # Not after a timeout: the caller has waited long enough. Not for a response, which may ask for a delay.
    return isinstance(error, ApiServerUnreachable) and not isinstance(error, TimedOut) and not error.code


# A retry that helps is no news; one that does not ends in an error, which is reported.
stamina.instrumentation.set_on_retry_hooks([])

_retry_reads = stamina.AsyncRetryingCaller(attempts=3, wait_initial=0.05, wait_jitter=0.05).on(_is_broken_connection)


def _decode(kind: Kind[T], data: bytes) -> T:
    try:
        return kind.decode(data)
    except JSON_FAULTS as error:
        raise KubeError(f"{kind}: the server's object cannot be decoded as {kind.type.__name__}: {error}") from error
