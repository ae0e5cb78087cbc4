"""What an alert is about in the cluster, and which workload that belongs to.

A pod that crashes fast is often gone when its alert comes in. Its last state is remembered for a while, so the alert
still finds its workload; when even that is over, the pod itself is what the alert is about. Nothing here drops an
alert: only an API server that cannot be asked raises.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import msgspec

from kubernaut.api.meta import OwnerReference
from kubernaut.api.signals import Target
from kubernaut.gateway.alertmanager import Candidate, Found
from kubernaut.kube.client import Client
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import Forbidden, NotFound
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata, Unstructured

DEEPEST = 10
"""Owners followed upwards at most; real chains have three."""

CACHED: tuple[Kind[PartialObjectMetadata], ...] = (
    Kind(version="v1", kind="Pod", plural="pods", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="Deployment", plural="deployments", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="StatefulSet", plural="statefulsets", type=PartialObjectMetadata),
    Kind(group="apps", version="v1", kind="DaemonSet", plural="daemonsets", type=PartialObjectMetadata),
    Kind(group="batch", version="v1", kind="Job", plural="jobs", type=PartialObjectMetadata),
)
"""Kinds of which the gateway keeps the metadata of every object; every server since Kubernetes 1.16 has them.

A CronJob is asked for when a Job names it as its owner, in the version that the Job names.
"""

BY_NAME = "name"


class Objects(Protocol):
    """What is known of a cluster: a live one, or a folder of manifests."""

    async def get(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None: ...

    def remembered(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        """The last state of an object that was deleted a short while ago."""

    def named(self, kind: Kind[PartialObjectMetadata], name: str) -> list[PartialObjectMetadata]:
        """The objects of that name in all namespaces, as far as they are in memory."""

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None: ...


class Cluster:
    """A live cluster: caches first, then the API server."""

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
            found = await self._client.get(kind, key)  # a cache may be a moment late
        except (NotFound, Forbidden, ValueError):
            # Gone, not ours to see, or no name that the server could know. The alert is stored all the same.
            return None
        if cache is not None:
            cache.observe(found)  # so that it is remembered, should it be deleted before the cache hears of it
        return found

    def remembered(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        cache = self._caches.get((kind.group, kind.kind))
        return cache.tombstone(key) if cache is not None else None

    def named(self, kind: Kind[PartialObjectMetadata], name: str) -> list[PartialObjectMetadata]:
        cache = self._caches.get((kind.group, kind.kind))
        return cache.by_index(BY_NAME, name) if cache is not None else []

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None:
        return await self._discovery.kind(api_version, kind)


class Manifests:
    """A cluster that is a list of manifests, for work without one."""

    def __init__(self, kinds: Iterable[Kind[PartialObjectMetadata]], manifests: Iterable[Unstructured]) -> None:
        self._kinds = {(kind.api_version, kind.kind): kind for kind in kinds}
        self._objects: dict[tuple[str, str], dict[Key, PartialObjectMetadata]] = {}
        for manifest in manifests:
            place = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
            metadata = manifest.get("metadata", {})
            key = Key(metadata.get("namespace", ""), metadata.get("name", ""))
            self._objects.setdefault(place, {})[key] = msgspec.convert(manifest, PartialObjectMetadata)

    async def get(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        return self._objects.get((kind.api_version, kind.kind), {}).get(key)

    def remembered(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        return None

    def named(self, kind: Kind[PartialObjectMetadata], name: str) -> list[PartialObjectMetadata]:
        objects = self._objects.get((kind.api_version, kind.kind), {})
        return [obj for key, obj in objects.items() if key.name == name]

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None:
        return self._kinds.get((api_version, kind))


async def find(candidates: Sequence[Candidate], objects: Objects) -> Found:
    """The first candidate that exists, else the first that did a while ago, else the first; and its top-level owner.

    A namespaced candidate without a namespace counts as existing when exactly one object has its name.
    """
    placed = [_placed(candidate, objects) for candidate in candidates]
    for candidate in placed:
        obj = None if candidate.lacks_namespace else await objects.get(candidate.kind, candidate.key)
        if obj is not None:
            return Found(target=candidate.target, owner=await _top(candidate, obj, objects))
    for candidate in placed:
        last = objects.remembered(candidate.kind, candidate.key)
        if last is not None:
            owner = await _top(candidate, last, objects)
            # What is gone cannot be enriched, what owned it can.
            return Found(target=owner, owner=owner)
    first = placed[0].target
    return Found(target=first, owner=first)


def _placed(candidate: Candidate, objects: Objects) -> Candidate:
    if not candidate.lacks_namespace:
        return candidate
    namesakes = objects.named(candidate.kind, candidate.name)
    return replace(candidate, namespace=namesakes[0].metadata.namespace) if len(namesakes) == 1 else candidate


async def _top(candidate: Candidate, obj: PartialObjectMetadata, objects: Objects) -> Target:
    """The last owner that can be followed to."""
    here, seen = candidate.target, {obj.metadata.uid}
    for _ in range(DEEPEST):
        reference = _controller(obj)
        if reference is None or reference.uid in seen:
            return here
        kind = await objects.kind(reference.api_version, reference.kind)
        if kind is None:
            return here
        key = Key(candidate.namespace if kind.namespaced else "", reference.name)
        owner = await objects.get(kind, key) or objects.remembered(kind, key)
        here = Target(kind=reference.kind, name=reference.name, namespace=key.namespace)
        if owner is None:
            return here
        obj = owner
        seen.add(reference.uid)
    return here


def _controller(obj: PartialObjectMetadata) -> OwnerReference | None:
    owners = obj.metadata.owner_references
    return next((owner for owner in owners if owner.controller), owners[0] if owners else None)
