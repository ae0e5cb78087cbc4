"""Facts from a running cluster: the caches first, a request only for kinds that have none."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import structlog

from kubernaut.api.meta import ObjectMeta
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.discovery import Discovery
from kubernaut.kube.errors import Forbidden, KubeError, NotFound
from kubernaut.kube.informer import Informer, InformerConfig, open_informers
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from kubernaut.signalprocessing import redaction
from kubernaut.signalprocessing.enrichment import Found, Reference
from kubernaut.signalprocessing.kinds import CACHED, LISTED, REMEDIATION, Workload

log = structlog.get_logger("cluster")

T = TypeVar("T")

MAX_REMEMBERED = 1000
"""Objects of kinds without a cache that are remembered at one time."""

BY_NAMESPACE = "namespace"


@dataclass(frozen=True)
class _Remembered:
    until: float
    found: Found | None


class ClusterReader:
    """Reads a cluster; made by `open_cluster`."""

    def __init__(
        self, client: Client, caches: dict[Kind[Any], Informer[Any]], denied: set[Kind[Any]], ttl: float
    ) -> None:
        self._client = client
        self._caches = caches
        self._by_name = {kind.kind: kind for kind in CACHED}
        self._denied = denied
        self._discovery = Discovery(client)
        self._ttl = ttl
        self._remembered: OrderedDict[Reference, _Remembered] = OrderedDict()

    @property
    def caches(self) -> Sequence[Informer[Any]]:
        """What must be filled before anything is read."""
        return [*self._caches.values()]

    async def find(self, wanted: Reference) -> Found | None:
        """The object, or what was last known of it."""
        kind = self._by_name.get(wanted.kind)
        if kind is None or (wanted.api_version and wanted.api_version != kind.api_version):
            return await self._find_elsewhere(wanted)
        key = Key(wanted.namespace if kind.namespaced else "", wanted.name)
        if kind.namespaced and not key.namespace:
            return None
        cache = self._cache(kind)
        if obj := cache.get(key):
            return found_of(kind, obj)
        last = cache.tombstone(key)
        return found_of(kind, last, is_deleted=True) if last is not None else None

    async def get(self, kind: Kind[T], key: Key) -> T | None:
        """An object of a kind with a cache."""
        return cast("T | None", self._cache(kind).get(key))  # a kind's cache holds that kind's type

    async def members(self, kind: Kind[T], namespace: str) -> Sequence[T]:
        """All objects of a kind with a cache in a namespace."""
        return cast("Sequence[T]", self._cache(kind).by_index(BY_NAMESPACE, namespace))

    def _cache(self, kind: Kind[Any]) -> Informer[Any]:
        if kind in self._denied:
            raise Forbidden(f"{kind} may not be listed")
        return self._caches[kind]

    async def _find_elsewhere(self, wanted: Reference) -> Found | None:
        now = time.monotonic()
        known = self._remembered.get(wanted)
        if known and known.until > now:
            return known.found
        found = await self._ask(wanted)
        self._remembered[wanted] = _Remembered(now + self._ttl, found)
        self._remembered.move_to_end(wanted)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    async def _ask(self, wanted: Reference) -> Found | None:
        if wanted.api_version:
            kind = await self._discovery.kind(wanted.api_version, wanted.kind)
        else:
            kind = await self._discovery.kind_by_singular_name(wanted.kind.lower())
        if kind is None or (kind.namespaced and not wanted.namespace):
            return None
        try:
            obj = await self._client.get(kind, Key(wanted.namespace if kind.namespaced else "", wanted.name))
        except NotFound:
            return None
        except ValueError:  # a name that no object can have
            return None
        return found_of(kind, obj)


def found_of(kind: Kind[Any], obj: Any, *, is_deleted: bool = False) -> Found:
    """What enrichment reads of an object of whatever kind."""
    metadata: ObjectMeta = obj.metadata
    pod_labels = metadata.labels if kind.kind == "Pod" else {}
    if isinstance(obj, Workload):
        pod_labels = obj.spec.template.metadata.labels
    if isinstance(obj, PartialObjectMetadata):
        for key in redaction.DROPPED & metadata.annotations.keys():
            del metadata.annotations[key]
    return Found(
        kind=kind.kind,
        api_version=kind.api_version,
        metadata=metadata,
        pod_labels=pod_labels,
        is_namespaced=kind.namespaced,
        is_deleted=is_deleted,
    )


@asynccontextmanager
async def open_cluster(client: Client, namespace: str, ttl: float) -> AsyncIterator[ClusterReader]:
    """The cluster's caches, kept filled while the block runs; does not wait until they are.

    A kind that we may not list, or that the cluster does not have, is left out; what depends on it counts as unknown.
    """
    wanted: list[tuple[Kind[Any], ListOptions]] = [(kind, ListOptions()) for kind in CACHED]
    wanted.append((REMEDIATION, ListOptions(namespace=namespace)))
    async with asyncio.TaskGroup() as tasks:
        asked = [(kind, where, tasks.create_task(_may_list(client, kind, where))) for kind, where in wanted]
    caches = {kind: _cache(client, kind, where) for kind, where, may in asked if may.result()}
    denied = {kind for kind, _, may in asked if not may.result()}
    if denied:
        log.warning("some kinds cannot be read", kinds=sorted(str(kind) for kind in denied))
    async with open_informers(*caches.values()):
        yield ClusterReader(client, caches, denied, ttl)


def _cache(client: Client, kind: Kind[Any], where: ListOptions) -> Informer[Any]:
    indexes = {BY_NAMESPACE: lambda obj: [obj.metadata.namespace]} if kind in LISTED else {}
    return Informer(client, kind, InformerConfig(options=where), indexes=indexes)


async def _may_list(client: Client, kind: Kind[Any], where: ListOptions) -> bool:
    try:
        await client.get_raw(kind.collection(where.namespace), {"limit": "1"})
    except (Forbidden, NotFound):
        return False
    except KubeError:
        return True  # an outage, which the cache waits out
    return True
