"""Where the gateway reads objects: a live cluster, or manifests."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from kubernaut.api.meta import Wire
from kubernaut.gateway import targets
from kubernaut.gateway.targets import ObjectKind, Unreadable
from kubernaut.kube.client import Client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import ApiServerUnreachable, KubeError, NotFound, TimedOut
from kubernaut.kube.informer import Informer, may_list
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata, Unstructured, key_of

log = structlog.get_logger("gateway")

READ_TIMEOUT = 2.0  # seconds
"""For one object or one group's kinds; an alert must not wait longer for a conversion webhook that hangs."""

RETRY_INTERVAL = 10.0  # seconds
"""How long a kind that could not be read is not read again."""


class _PodSpec(Wire, frozen=True, gc=False):
    node_name: str = ""


class Pod(PartialObjectMetadata, frozen=True, gc=False):
    """A pod, and where it runs."""

    spec: _PodSpec = _PodSpec()


class _Address(Wire, frozen=True, gc=False):
    address: str = ""


class _NodeStatus(Wire, frozen=True, gc=False):
    addresses: tuple[_Address, ...] = ()


class Node(PartialObjectMetadata, frozen=True, gc=False):
    """A node, and its addresses."""

    status: _NodeStatus = _NodeStatus()


POD: Kind[Pod] = Kind(version="v1", kind="Pod", plural="pods", type=Pod)
NODE: Kind[Node] = Kind(version="v1", kind="Node", plural="nodes", namespaced=False, type=Node)
CACHED: tuple[Kind[Any], ...] = (
    POD,
    NODE,
    Kind(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="Deployment", plural="deployments", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="StatefulSet", plural="statefulsets", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="DaemonSet", plural="daemonsets", type=PartialObjectMetadata),
    Kind(group="batch", version="v1", kind="Job", plural="jobs", type=PartialObjectMetadata),
)
"""Kinds of which the gateway caches the metadata of every object; every server since Kubernetes 1.16 has them.

A CronJob is fetched when a Job names it as its owner, in the version that the Job names.
"""

BY_NAME = "name"
BY_ADDRESS = "address"


async def new_caches(client: Client) -> list[Informer[Any]]:
    """The caches of all kinds that the gateway may list; other kinds are read one object at a time."""
    async with asyncio.TaskGroup() as tasks:
        probes = [(kind, tasks.create_task(may_list(client, kind))) for kind in CACHED]
    denied = [str(kind) for kind, probe in probes if not probe.result()]
    if denied:
        log.warning("list access denied for some kinds", kinds=denied)
    return [new_cache(client, kind) for kind, probe in probes if probe.result()]


def new_cache(client: Client, kind: Kind[Any]) -> Informer[Any]:
    """The cache of one kind, with the indexes that `ClusterReader` needs."""
    return Informer(client, kind, indexes={BY_NAME: lambda obj: [obj.metadata.name], BY_ADDRESS: _addresses})


def _addresses(obj: PartialObjectMetadata) -> list[str]:
    return [address.address for address in obj.status.addresses] if isinstance(obj, Node) else []


class ClusterReader:
    """An `ObjectReader` of a live cluster: caches first, then the API server.

    Raises a `KubeError` only when the API server does not accept connections.
    """

    def __init__(self, client: Client, discovery: Discovery, caches: Sequence[Informer[Any]]) -> None:
        self._client = client
        self._discovery = discovery
        # Compare them with None: an empty cache is as false as an empty list.
        self._caches = {(cache.kind.group, cache.kind.kind): cache for cache in caches}
        self._failures: dict[tuple[str, str], tuple[float, str]] = {}
        """By group and kind: when it may be read again, and why it could not be."""

    async def get(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        cache = self._caches.get((kind.group, kind.kind))
        cached: PartialObjectMetadata | None = cache.get(key) if cache is not None else None
        if cached is not None:
            return cached
        obj = await self._fetch(cache.kind if cache is not None else kind, key)  # a cache may lag behind
        if obj is not None and cache is not None:
            cache.observe(obj)  # so that it leaves a tombstone, should it be deleted before its event arrives
        return obj

    async def _fetch(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        retry_at, failure = self._failures.get((kind.group, kind.kind), (0.0, ""))
        if time.monotonic() < retry_at:
            raise Unreadable(failure)
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return await self._client.get(kind, key)
        except (NotFound, ValueError):
            return None  # deleted, or no valid name
        except (KubeError, TimeoutError) as error:
            if isinstance(error, ApiServerUnreachable) and not isinstance(error, TimedOut):
                raise
            reason = str(error) or f"no answer within {READ_TIMEOUT:g} s"
            failure = f"{kind.kind} could not be read: {reason}"
            self._failures[kind.group, kind.kind] = (time.monotonic() + RETRY_INTERVAL, failure)
            raise Unreadable(failure) from error

    def tombstone(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        cache = self._caches.get((kind.group, kind.kind))
        return cache.tombstone(key) if cache is not None else None

    def list_by_name(self, kind: ObjectKind, name: str) -> list[PartialObjectMetadata]:
        cache = self._caches.get((kind.group, kind.kind))
        return cache.by_index(BY_NAME, name) if cache is not None else []

    async def kind(self, api_version: str, kind: str) -> ObjectKind | None:
        cached = next((cache.kind for cache in self._caches.values() if cache.kind.kind == kind), None)
        if cached is not None and cached.api_version == api_version:
            return cached
        try:
            return await self._discovery.kind(api_version, kind)
        except KubeError as error:
            if isinstance(error, ApiServerUnreachable) and not isinstance(error, TimedOut):
                raise
            raise Unreadable(f"{kind} could not be discovered: {error}") from error

    async def kinds_called(self, name: str) -> Sequence[ObjectKind]:
        return await self._discovery.kinds_called(name)

    async def node_at(self, address: str) -> str:
        nodes = self._caches.get(("", NODE.kind))
        if nodes is None:
            return ""
        node = nodes.get(Key("", address))
        found = [node] if node is not None else nodes.by_index(BY_ADDRESS, address)
        return found[0].metadata.name if len(found) == 1 else ""

    async def node_of(self, pod: Key) -> str:
        obj = await self.get(targets.POD, pod) or self.tombstone(targets.POD, pod)
        return obj.spec.node_name if isinstance(obj, Pod) else ""


class ManifestReader:
    """An `ObjectReader` of a list of manifests, for work without a cluster.

    As in a cluster, an object is there in every version of its kind.
    """

    def __init__(self, kinds: Iterable[ObjectKind], manifests: Iterable[Unstructured]) -> None:
        self._kinds: dict[tuple[str, str], ObjectKind] = {}
        for known in kinds:
            self._kinds.setdefault((known.group, known.kind), known)
        self._objects: dict[tuple[str, str], dict[Key, PartialObjectMetadata]] = {}
        for manifest in manifests:
            kind = _kind_of(manifest)
            self._kinds.setdefault((kind.group, kind.kind), kind)
            types: dict[str, type[PartialObjectMetadata]] = {POD.kind: Pod, NODE.kind: Node}
            obj = msgspec.convert(manifest, types.get(kind.kind, PartialObjectMetadata), strict=False)
            self._objects.setdefault((kind.group, kind.kind), {})[key_of(manifest)] = obj

    async def get(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        return self._objects.get((kind.group, kind.kind), {}).get(key)

    def tombstone(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        return None

    def list_by_name(self, kind: ObjectKind, name: str) -> list[PartialObjectMetadata]:
        objects = self._objects.get((kind.group, kind.kind), {})
        return [obj for key, obj in objects.items() if key.name == name]

    async def kind(self, api_version: str, kind: str) -> ObjectKind | None:
        known = self._kinds.get((api_version.rpartition("/")[0], kind))
        return None if known is None else replace(known, version=api_version.rpartition("/")[2])

    async def kinds_called(self, name: str) -> Sequence[ObjectKind]:
        called = [kind for (_, kind_name), kind in self._kinds.items() if kind_name.lower() == name]
        return sorted(called, key=lambda kind: kind.group)

    async def node_at(self, address: str) -> str:
        nodes = self._objects.get((NODE.group, NODE.kind), {})
        at = [key.name for key, node in nodes.items() if address in (key.name, *_addresses(node))]
        return at[0] if len(at) == 1 else ""

    async def node_of(self, pod: Key) -> str:
        obj = await self.get(targets.POD, pod)
        return obj.spec.node_name if isinstance(obj, Pod) else ""


def _kind_of(manifest: Unstructured) -> ObjectKind:
    """The kind of a manifest; whether it is namespaced can be told only by the manifest's own namespace."""
    group, _, version = str(manifest.get("apiVersion", "")).rpartition("/")
    kind = str(manifest.get("kind", ""))
    namespaced = bool((manifest.get("metadata") or {}).get("namespace"))
    return Kind(
        group=group,
        version=version,
        kind=kind,
        plural=f"{kind.lower()}s",
        namespaced=namespaced,
        type=PartialObjectMetadata,
    )
