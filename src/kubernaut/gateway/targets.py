"""Which object an alert is about, and which workload owns it.

What the labels name is looked up in the cluster, and what exists comes before what does not. A pod that crashes fast is
often gone when its alert arrives. Its last state is kept for a while as a tombstone, so the alert still finds its
workload; after that, the pod itself is the target. Nothing here drops an alert: what cannot be read is a note.
"""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from kubernaut.api.meta import OwnerReference
from kubernaut.api.signals import Target
from kubernaut.gateway.labels import DEFAULT_LABELS, WORKLOAD_KINDS, NamedObject, Subject
from kubernaut.kube.objects import Key, Kind, PartialObjectMetadata
from kubernaut.kube.owners import ObservedOwner, owner_chain

ObjectKind = Kind[PartialObjectMetadata]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ANY_NAME = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9.:_]{0,251}[a-zA-Z0-9])?")
"""Some kinds, such as those of RBAC, allow more; the object must exist then."""

NO_TARGET = "no label names a namespace or a kind of object that this cluster has"

_BUILTIN = {
    spec.partition(".")[0].lower(): spec.removesuffix("?")
    for spec in (*DEFAULT_LABELS.values(), *WORKLOAD_KINDS)
    if spec
}
_CLUSTER_SCOPED = {"Node", "PersistentVolume", "Namespace"}
NODE: ObjectKind = Kind(version="v1", kind="Node", plural="nodes", namespaced=False, type=PartialObjectMetadata)
NAMESPACE: ObjectKind = Kind(
    version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=PartialObjectMetadata
)
POD: ObjectKind = Kind(version="v1", kind="Pod", plural="pods", type=PartialObjectMetadata)


class Unreadable(Exception):
    """Whether an object exists cannot be told now; the text says why."""


@dataclass(frozen=True, kw_only=True)
class ResolvedObject:
    """The target of an alert, and its top-level owner: the target itself when it has none."""

    target: Target
    owner: Target
    notes: tuple[str, ...] = ()
    """Why they may not be what the labels mean."""


class ObjectReader(Protocol):
    """Reads the objects of a cluster: a live one, or a folder of manifests."""

    async def get(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        """The object; None when there is none. Raises Unreadable."""

    def tombstone(self, kind: ObjectKind, key: Key) -> PartialObjectMetadata | None:
        """The last state of an object that was deleted a short while ago."""

    def list_by_name(self, kind: ObjectKind, name: str) -> list[PartialObjectMetadata]:
        """The cached objects of that name in all namespaces."""

    async def kind(self, api_version: str, kind: str) -> ObjectKind | None:
        """The kind as it is served; None when it is not. Raises Unreadable."""

    async def kinds_called(self, name: str) -> Sequence[ObjectKind]:
        """Kinds of that singular lower-case name, the core group's first."""

    async def node_at(self, address: str) -> str:
        """The name of the node that has this name or address; empty when none has. Raises Unreadable."""

    async def node_of(self, pod: Key) -> str:
        """The name of the node that a pod runs on; empty when that is not known. Raises Unreadable."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """An object that an alert may be about; `namespace` is empty when it is cluster-scoped or unknown."""

    label: str
    kind: ObjectKind
    name: str
    namespace: str = ""
    must_exist: bool = False

    @property
    def lacks_namespace(self) -> bool:
        return self.kind.namespaced and not self.namespace

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def target(self) -> Target:
        return target_of(self.kind, self.key)


def target_of(kind: ObjectKind, key: Key) -> Target:
    return Target(api_version=kind.api_version, kind=kind.kind, name=key.name, namespace=key.namespace)


async def resolve(subject: Subject, reader: ObjectReader) -> ResolvedObject | None:
    """The first that exists of what the labels name, else the first; and its top-level owner. None: they name nothing.

    A namespaced object without a namespace counts as existing when exactly one object has its name.
    """
    return await _Resolution(subject, reader).resolve()


def resolve_elsewhere(subject: Subject) -> ResolvedObject | None:
    """The first of what the labels name, in a cluster that cannot be read. None: they name nothing.

    What would have to exist counts after other workloads, and only where the labels say kind and name.
    """
    certain = [each for each in subject.workloads if not each.must_exist]
    typed = [each for each in subject.workloads if each.must_exist and each.label.endswith("name")]
    for named in (*certain, *typed, *(each for each in subject.nodes if not each.must_exist)):
        kind = _known_kind(named.kind or WORKLOAD_KINDS[0])
        if kind is not None and _NAME.fullmatch(named.name):
            target = target_of(kind, Key(named.namespace if kind.namespaced else "", named.name))
            return ResolvedObject(target=target, owner=target)
    if _NAME.fullmatch(subject.namespace):
        target = target_of(NAMESPACE, Key("", subject.namespace))
        return ResolvedObject(target=target, owner=target)
    return None


def rejection_of(subject: Subject) -> str:
    """Why the labels name no target, with the labels whose value cannot be the name of an object."""
    named = [each for each in (*subject.workloads, *subject.nodes) if not each.must_exist]
    reasons = [_invalid_name(each.label, each.name) for each in named if not _NAME.fullmatch(each.name)]
    if subject.namespace and not _NAME.fullmatch(subject.namespace):
        reasons.append(_invalid_name("namespace", subject.namespace))
    return "; ".join((NO_TARGET, *dict.fromkeys(reasons)))


def _invalid_name(label: str, value: str) -> str:
    return f"label {label} has no valid name of an object: {value[:100]!r}"


async def exists(label: str, key: Key, reader: ObjectReader) -> bool:
    """Whether an object exists whose kind is called like a label."""
    for kind in await reader.kinds_called(label) if _ANY_NAME.fullmatch(key.name) else ():
        where = Key(_namespace_of(kind, key.namespace), key.name)
        try:
            if (where.namespace or not kind.namespaced) and await reader.get(kind, where) is not None:
                return True
        except Unreadable:
            continue
    return False


@dataclass
class _Resolution:
    """The resolution of one alert."""

    subject: Subject
    reader: ObjectReader
    notes: list[str] = field(default_factory=list)

    async def resolve(self) -> ResolvedObject | None:
        workloads = [self._located(each) async for each in self._candidates(self.subject.workloads)]
        found = await self._existing(workloads) or await self._deleted(workloads) or self._first(workloads)
        if found is None:
            called = [self._located(each) async for each in self._called_like_a_kind()]
            found = await self._existing(called) or await self._node() or await self._scraper_pod()
        if found is None:
            applications = [self._located(each) async for each in self._candidates(self.subject.applications)]
            found = await self._existing(applications)
        if found is None and _NAME.fullmatch(self.subject.namespace):
            target = target_of(NAMESPACE, Key("", self.subject.namespace))
            found = ResolvedObject(target=target, owner=target)
        return None if found is None else replace(found, notes=tuple(dict.fromkeys(self.notes)))

    async def _candidates(self, named: Iterable[NamedObject]) -> AsyncIterator[_Candidate]:
        for each in named:
            if not _NAME.fullmatch(each.name):
                if not each.must_exist:
                    self.notes.append(_invalid_name(each.label, each.name))
                continue
            specs = [each.kind] if each.kind else WORKLOAD_KINDS
            for position, spec in enumerate(specs):
                kind = await self._kind(spec)
                if kind is not None:
                    yield _Candidate(
                        label=each.label,
                        kind=kind,
                        name=each.name,
                        namespace=_namespace_of(kind, each.namespace),
                        must_exist=each.must_exist or position > 0,
                    )
                    if each.is_anywhere:
                        yield _Candidate(label=each.label, kind=kind, name=each.name, must_exist=True)

    async def _called_like_a_kind(self) -> AsyncIterator[_Candidate]:
        for label, name in self.subject.kinds:
            if _ANY_NAME.fullmatch(name):
                for kind in await self.reader.kinds_called(label):
                    namespace = _namespace_of(kind, self.subject.namespace)
                    yield _Candidate(label=label, kind=kind, name=name, namespace=namespace, must_exist=True)

    async def _kind(self, spec: str) -> ObjectKind | None:
        """The kind as the cluster serves it; as it is written, where the cluster does not tell."""
        known = _known_kind(spec)
        served = await self.reader.kinds_called(spec.partition(".")[0].lower())
        if known is None:
            return served[0] if served else None
        return next((kind for kind in served if kind.group == known.group), known)

    def _located(self, candidate: _Candidate) -> _Candidate:
        if not candidate.lacks_namespace:
            return candidate
        namesakes = self.reader.list_by_name(candidate.kind, candidate.name)
        return replace(candidate, namespace=namesakes[0].metadata.namespace) if len(namesakes) == 1 else candidate

    async def _existing(self, candidates: Sequence[_Candidate]) -> ResolvedObject | None:
        for candidate in candidates:
            if candidate.lacks_namespace:
                continue
            try:
                obj = await self.reader.get(candidate.kind, candidate.key)
            except Unreadable as reason:
                self.notes.append(str(reason))
                continue
            if obj is not None:
                self.notes.clear()
                return ResolvedObject(target=candidate.target, owner=await self._owner(candidate, obj))
        return None

    async def _deleted(self, candidates: Sequence[_Candidate]) -> ResolvedObject | None:
        for candidate in candidates:
            last = self.reader.tombstone(candidate.kind, candidate.key)
            if last is not None:
                owner = await self._owner(candidate, last)
                # A deleted object cannot be enriched, its owner can.
                return ResolvedObject(target=owner, owner=owner)
        return None

    def _first(self, candidates: Sequence[_Candidate]) -> ResolvedObject | None:
        for candidate in candidates:
            if candidate.must_exist or self._is_elsewhere(candidate):
                continue
            return ResolvedObject(target=candidate.target, owner=candidate.target)
        return None

    def _is_elsewhere(self, candidate: _Candidate) -> bool:
        """Whether a pod of that name runs in another namespace: then it is the pod of the scraper."""
        if candidate.kind.kind != POD.kind or candidate.lacks_namespace:
            return False
        return bool(self.reader.list_by_name(candidate.kind, candidate.name))

    async def _node(self) -> ResolvedObject | None:
        subject = self.subject
        nodes = [each async for each in self._candidates(subject.nodes)]
        found = await self._existing(nodes)
        if found is not None:
            return found
        name = ""
        try:
            # A host that is no node's name or address may have its domain behind it.
            for host in filter(None, (subject.address, *(each.name for each in subject.nodes))):
                name = name or await self.reader.node_at(host) or await self.reader.node_at(_without_domain(host))
            if not name and subject.is_node_exporter and subject.scraper_pod:
                name = await self.reader.node_of(Key(subject.namespace, subject.scraper_pod))
        except Unreadable as reason:
            self.notes.append(str(reason))
        if name:
            target = target_of(NODE, Key("", name))
            return ResolvedObject(target=target, owner=target)
        return self._first(nodes)

    async def _scraper_pod(self) -> ResolvedObject | None:
        if not self.subject.scraper_pod or not self.subject.namespace:
            return None
        name, namespace = self.subject.scraper_pod, self.subject.namespace
        return await self._existing([_Candidate(label="pod", kind=POD, name=name, namespace=namespace)])

    async def _owner(self, candidate: _Candidate, obj: PartialObjectMetadata) -> Target:
        """The last owner that can be named."""
        chain = await owner_chain(candidate.kind.api_version, candidate.kind.kind, obj, self._read_owner)
        if not chain:
            return candidate.target
        last = chain[-1].reference
        return Target(api_version=last.api_version, kind=last.kind, name=last.name, namespace=chain[-1].namespace)

    async def _read_owner(self, reference: OwnerReference, namespace: str) -> ObservedOwner[PartialObjectMetadata]:
        try:
            kind = await self.reader.kind(reference.api_version, reference.kind)
            if kind is None:
                return ObservedOwner(note="not found", namespaced=reference.kind not in _CLUSTER_SCOPED)
            key = Key(namespace if kind.namespaced else "", reference.name)
            owner = await self.reader.get(kind, key) or self.reader.tombstone(kind, key)
        except Unreadable as reason:
            self.notes.append(str(reason))
            return ObservedOwner(note=str(reason), namespaced=reference.kind not in _CLUSTER_SCOPED)
        return ObservedOwner(obj=owner, namespaced=kind.namespaced, note="" if owner else "not found")


def _without_domain(host: str) -> str:
    first, _, rest = host.partition(".")
    return first if rest and not first.isdecimal() else host


def _namespace_of(kind: ObjectKind, namespace: str) -> str:
    return namespace if kind.namespaced and _NAME.fullmatch(namespace) else ""


def _known_kind(spec: str) -> ObjectKind | None:
    """`Kind.version.group` as a kind; of a kind alone where it is one of Kubernetes' own, else None."""
    if "." not in spec:
        spec = _BUILTIN.get(spec.lower(), "")
        if not spec:
            return None
    name, _, rest = spec.partition(".")
    version, _, group = rest.partition(".")
    return Kind(
        group=group,
        version=version,
        kind=name,
        plural=_plural(name.lower()),
        namespaced=name not in _CLUSTER_SCOPED,
        type=PartialObjectMetadata,
    )


def _plural(name: str) -> str:
    """As kubebuilder makes it."""
    return (
        f"{name}es"
        if name.endswith(("s", "x", "ch", "sh"))
        else f"{name[:-1]}ies"
        if name.endswith("y")
        else f"{name}s"
    )
