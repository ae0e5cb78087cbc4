"""Which object an alert is about, and which workload owns it.

A pod that crashes fast is often gone when its alert arrives. Its last state is kept for a while as a tombstone, so the
alert still finds its workload; after that, the pod itself is the target. Nothing here drops an alert: only an
unreachable API server raises.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kubernaut.api.signals import Target
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata, controller_of

MAX_OWNER_DEPTH = 10
"""Owner references followed upwards; real chains have three."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An object that an alert may be about; `namespace` is empty when it is cluster-scoped or unknown."""

    kind: Kind[PartialObjectMetadata]
    name: str
    namespace: str = ""

    @property
    def lacks_namespace(self) -> bool:
        return self.kind.namespaced and not self.namespace

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def target(self) -> Target:
        return Target(kind=self.kind.kind, name=self.name, namespace=self.namespace)


@dataclass(frozen=True, kw_only=True)
class ResolvedObject:
    """The target of an alert, and its top-level owner: the target itself when it has none."""

    target: Target
    owner: Target


class ObjectReader(Protocol):
    """Reads the objects of a cluster: a live one, or a folder of manifests."""

    async def get(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None: ...

    def tombstone(self, kind: Kind[PartialObjectMetadata], key: Key) -> PartialObjectMetadata | None:
        """The last state of an object that was deleted a short while ago."""

    def list_by_name(self, kind: Kind[PartialObjectMetadata], name: str) -> list[PartialObjectMetadata]:
        """The cached objects of that name in all namespaces."""

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None: ...


async def resolve(candidates: Sequence[Candidate], reader: ObjectReader) -> ResolvedObject:
    """The first candidate that exists, else the first with a tombstone, else the first; and its top-level owner.

    A namespaced candidate without a namespace counts as existing when exactly one object has its name.
    """
    located = [_with_namespace(candidate, reader) for candidate in candidates]
    for candidate in located:
        obj = None if candidate.lacks_namespace else await reader.get(candidate.kind, candidate.key)
        if obj is not None:
            return ResolvedObject(target=candidate.target, owner=await _top_level_owner(candidate, obj, reader))
    for candidate in located:
        last = reader.tombstone(candidate.kind, candidate.key)
        if last is not None:
            owner = await _top_level_owner(candidate, last, reader)
            # A deleted object cannot be enriched, its owner can.
            return ResolvedObject(target=owner, owner=owner)
    first = located[0].target
    return ResolvedObject(target=first, owner=first)


def _with_namespace(candidate: Candidate, reader: ObjectReader) -> Candidate:
    if not candidate.lacks_namespace:
        return candidate
    namesakes = reader.list_by_name(candidate.kind, candidate.name)
    return replace(candidate, namespace=namesakes[0].metadata.namespace) if len(namesakes) == 1 else candidate


async def _top_level_owner(candidate: Candidate, obj: PartialObjectMetadata, reader: ObjectReader) -> Target:
    """The last owner that can be reached."""
    current, visited = candidate.target, {obj.metadata.uid}
    for _ in range(MAX_OWNER_DEPTH):
        # The original takes the first owner where none is the controller, and fingerprints must agree with it.
        reference = controller_of(obj) or next(iter(obj.metadata.owner_references), None)
        if reference is None or reference.uid in visited:
            return current
        kind = await reader.kind(reference.api_version, reference.kind)
        if kind is None:
            return current
        key = Key(candidate.namespace if kind.namespaced else "", reference.name)
        owner = await reader.get(kind, key) or reader.tombstone(kind, key)
        current = Target(kind=reference.kind, name=reference.name, namespace=key.namespace)
        if owner is None:
            return current
        obj = owner
        visited.add(reference.uid)
    return current
