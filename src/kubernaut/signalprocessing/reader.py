"""Reading objects of a cluster: what enrichment and detection need of wherever objects come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from kubernaut.api.meta import ObjectMeta
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from kubernaut.ops import redaction
from kubernaut.signalprocessing.kinds import POD, Workload

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ObjectReference:
    """Names an object; without an API version the kind's name decides alone."""

    kind: str
    name: str
    namespace: str = ""
    api_version: str = ""


@dataclass(frozen=True, kw_only=True)
class ResolvedObject:
    """The object that a reference names, as far as enrichment reads it."""

    kind: str
    api_version: str
    metadata: ObjectMeta
    pod_labels: dict[str, str] = field(default_factory=dict)
    """Labels of the pod that it is, or of the pods in its template."""
    is_namespaced: bool = True
    is_deleted: bool = False
    """It has been deleted; this is its last known state."""


class Reader(Protocol):
    """Where objects come from: the caches of a cluster, or a folder of manifests."""

    async def resolve(self, reference: ObjectReference) -> ResolvedObject | None:
        """The object, or its last known state. Raises KubeError when the API server could not tell."""
        ...

    async def get(self, kind: Kind[T], key: Key) -> T | None:
        """An object of a cached kind."""
        ...

    async def list(self, kind: Kind[T], namespace: str) -> Sequence[T]:
        """All objects of a cached kind in a namespace."""
        ...


def resolved(kind: Kind[Any], obj: Any, *, is_deleted: bool = False) -> ResolvedObject:
    """What enrichment reads of an object of any kind."""
    metadata: ObjectMeta = obj.metadata
    pod_labels = metadata.labels if kind.kind == POD.kind else {}
    if isinstance(obj, Workload):
        pod_labels = obj.spec.template.metadata.labels
    if isinstance(obj, PartialObjectMetadata):
        for key in redaction.DROPPED_ANNOTATIONS & metadata.annotations.keys():
            del metadata.annotations[key]
    return ResolvedObject(
        kind=kind.kind,
        api_version=kind.api_version,
        metadata=metadata,
        pod_labels=pod_labels,
        is_namespaced=kind.namespaced,
        is_deleted=is_deleted,
    )
