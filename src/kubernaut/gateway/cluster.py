"""Where the gateway reads objects: a live cluster, or manifests."""

from collections.abc import Iterable, Sequence

import msgspec

from kubernaut.kube.client import Client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import Forbidden, NotFound
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata, Unstructured, key_of

CACHED: tuple[Kind[PartialObjectMetadata], ...] = (
    Kind(version="v1", kind="Pod", plural="pods", type=PartialObjectMetadata),
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


def new_cache(client: Client, kind: Kind[PartialObjectMetadata]) -> Informer[PartialObjectMetadata]:
    """The cache of one kind, with the index that `ClusterReader` needs."""
    return Informer(client, kind, indexes={BY_NAME: lambda obj: [obj.metadata.name]})


class ClusterReader:
    """An `ObjectReader` of a live cluster: caches first, then the API server."""

    def __init__(self, client: Client, discovery: Discovery, caches: Sequence[Informer[PartialObjectMetadata]]) -> None:
        self._client = client
        self._discovery = discovery
        # Compare them with None: an empty cache is as false as an empty list.
        self._caches = {(cache.kind.group, cache.kind.kind): cache for cache in caches}

    async def get(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        cache = self._caches.get((kind.group, kind.kind))
        cached = cache.get(key) if cache is not None else None
        if cached is not None:
            return cached
        try:
            obj = await self._client.get(kind, key)  # a cache may lag behind
        except (NotFound, Forbidden, ValueError):
            # Deleted, not permitted, or no valid name. The alert is stored all the same.
            return None
        if cache is not None:
            cache.observe(obj)  # so that it leaves a tombstone, should it be deleted before its event arrives
        return obj

    def tombstone(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        cache = self._caches.get((kind.group, kind.kind))
        return cache.tombstone(key) if cache is not None else None

    def list_by_name(self, kind: Kind[PartialObjectMetadata], name: str) -> list[PartialObjectMetadata]:
        cache = self._caches.get((kind.group, kind.kind))
        return cache.by_index(BY_NAME, name) if cache is not None else []

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None:
        return await self._discovery.kind(api_version, kind)


class ManifestReader:
    """An `ObjectReader` of a list of manifests, for work without a cluster."""

    def __init__(self, kinds: Iterable[Kind[PartialObjectMetadata]], manifests: Iterable[Unstructured]) -> None:
        self._kinds = {(kind.api_version, kind.kind): kind for kind in kinds}
        self._objects: dict[tuple[str, str], dict[Key, PartialObjectMetadata]] = {}
        for manifest in manifests:
            kind = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
            self._objects.setdefault(kind, {})[key_of(manifest)] = msgspec.convert(manifest, PartialObjectMetadata)

    async def get(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        return self._objects.get((kind.api_version, kind.kind), {}).get(key)

    def tombstone(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        return None

    def list_by_name(self, kind: Kind[PartialObjectMetadata], name: str) -> list[PartialObjectMetadata]:
        objects = self._objects.get((kind.api_version, kind.kind), {})
        return [obj for key, obj in objects.items() if key.name == name]

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None:
        return self._kinds.get((api_version, kind))
