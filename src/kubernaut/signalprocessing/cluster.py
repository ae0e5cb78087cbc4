"""PolicyInput from a running cluster: the caches first, a request only for kinds that have none."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import structlog

from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import Forbidden, NotFound
from kubernaut.kube.informer import Informer, InformerConfig, may_list, open_informers
from kubernaut.kube.objects import Key, Kind
from kubernaut.signalprocessing.kinds import CACHED, NAMESPACE_INDEXED, OLDER_VERSIONS, REMEDIATION
from kubernaut.signalprocessing.reader import ObjectReference, ResolvedObject, resolved

log = structlog.get_logger("cluster")

T = TypeVar("T")

MAX_CACHED_LOOKUPS = 1000
"""Lookups of kinds without an informer that are cached at one time."""

BY_NAMESPACE = "namespace"


@dataclass(frozen=True)
class _Lookup:
    expires_at: float
    obj: ResolvedObject | None


class ClusterReader:
    """Reads a cluster; made by `open_cluster_reader`."""

    def __init__(
        self, client: Client, informers: dict[Kind[Any], Informer[Any]], denied: set[Kind[Any]], cache_ttl: float
    ) -> None:
        self._client = client
        self._informers = informers
        self._by_name = {kind.kind: kind for kind in CACHED}
        self._denied = denied
        self._discovery = Discovery(client)
        self._cache_ttl = cache_ttl
        self._lookups: OrderedDict[ObjectReference, _Lookup] = OrderedDict()

    @property
    def caches(self) -> Sequence[Informer[Any]]:
        """What must be synced before anything is read."""
        return [*self._informers.values()]

    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        """The object, or its last known state."""
        kind = self._by_name.get(reference.kind)
        # An object is the same one in every version of its group.
        if kind is None or (reference.api_version and reference.api_version.rpartition("/")[0] != kind.group):
            return await self._look_up(reference)
        key = Key(reference.namespace if kind.namespaced else "", reference.name)
        if kind.namespaced and not key.namespace:
            return None
        informer = self._informer(kind)
        if obj := informer.get(key):
            return resolved(informer.kind, obj)
        deleted = informer.tombstone(key)
        return resolved(informer.kind, deleted, is_deleted=True) if deleted is not None else None

    async def get(self, kind: Kind[T], key: Key) -> T | None:
        """An object of a cached kind."""
        return cast("T | None", self._informer(kind).get(key))  # a kind's cache holds that kind's type

    async def list(self, kind: Kind[T], namespace: str) -> Sequence[T]:
        """All objects of a cached kind in a namespace."""
        return cast("Sequence[T]", self._informer(kind).by_index(BY_NAMESPACE, namespace))

    def informer_of(self, kind: Kind[T]) -> Informer[Any] | None:
        """The cache of a kind; None where it may not be listed."""
        return self._informers.get(kind)

    def _informer(self, kind: Kind[Any]) -> Informer[Any]:
        if kind in self._denied:
            raise Forbidden(f"{kind} may not be listed")
        return self._informers[kind]

    async def _look_up(self, reference: ObjectReference) -> ResolvedObject | None:
        now = time.monotonic()
        cached = self._lookups.get(reference)
        if cached and cached.expires_at > now:
            return cached.obj
        obj = await self._fetch(reference)
        self._lookups[reference] = _Lookup(now + self._cache_ttl, obj)
        self._lookups.move_to_end(reference)
        while len(self._lookups) > MAX_CACHED_LOOKUPS:
            self._lookups.popitem(last=False)
        return obj

    async def _fetch(self, reference: ObjectReference) -> ResolvedObject | None:
        if reference.api_version:
            kind = await self._discovery.kind(reference.api_version, reference.kind)
        else:
            kind = await self._discovery.kind_by_singular_name(reference.kind.lower())
        if kind is None or (kind.namespaced and not reference.namespace):
            return None
        try:
            obj = await self._client.get(kind, Key(reference.namespace if kind.namespaced else "", reference.name))
        except NotFound:
            return None
        except ValueError:  # a name that no object can have
            return None
        return resolved(kind, obj)


@asynccontextmanager
async def open_cluster_reader(client: Client, namespace: str, cache_ttl: float) -> AsyncIterator[ClusterReader]:
    """The cluster's caches, kept up to date while the block runs; does not wait until they have synced.

    A kind that we may not list, or that the cluster does not have, is left out; what depends on it counts as unknown.
    """
    wanted: list[tuple[Kind[Any], ListOptions]] = [(kind, ListOptions()) for kind in CACHED]
    wanted.append((REMEDIATION, ListOptions(namespace=namespace)))
    async with asyncio.TaskGroup() as tasks:
        probes = [(kind, where, tasks.create_task(_listable(client, kind, where))) for kind, where in wanted]
    listable = [(kind, where, probe.result()) for kind, where, probe in probes]
    informers = {
        kind: _informer(client, listed, where, kind in NAMESPACE_INDEXED)
        for kind, where, listed in listable
        if listed is not None
    }
    denied = {kind for kind, _, listed in listable if listed is None}
    if denied:
        log.warning("list access denied for some kinds", kinds=sorted(str(kind) for kind in denied))
    async with open_informers(*informers.values()):
        yield ClusterReader(client, informers, denied, cache_ttl)


async def _listable(client: Client, kind: Kind[Any], where: ListOptions) -> Kind[Any] | None:
    """The kind in the newest of the versions we know that the cluster has and lets us list."""
    for version in (kind, OLDER_VERSIONS.get(kind)):
        if version is not None and await may_list(client, version, where):
            return version
    return None


def _informer(client: Client, kind: Kind[Any], selection: ListOptions, is_indexed: bool) -> Informer[Any]:
    indexes = {BY_NAMESPACE: lambda obj: [obj.metadata.namespace]} if is_indexed else {}
    return Informer(client, kind, InformerConfig(options=selection), indexes=indexes)
