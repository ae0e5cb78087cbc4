"""The owners of an object: one walk, whoever reads the objects."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kubernaut.api.meta import ObjectMeta, OwnerReference
from kubernaut.kube.objects import KubeObject, controller_of

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object

MAX_OWNERS = 5
"""Owners of one object that are followed; real chains have up to five."""


@dataclass(frozen=True, kw_only=True)
class ObservedOwner(Generic[O]):
    """An owner as far as it could be read."""

    obj: O | None = None
    namespaced: bool = True
    note: str = ""
    """Why it could not be read, or what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Owner(Generic[O]):
    """One hop of an owner chain."""

    reference: OwnerReference
    namespace: str
    """Empty for a cluster-scoped owner."""
    obj: O | None
    note: str


ReadOwner = Callable[[OwnerReference, str], Awaitable[ObservedOwner[O]]]
"""Reads the owner that a reference names, in a namespace. An owner that cannot be read is no error."""


def owner_of(obj: KubeObject) -> OwnerReference | None:
    """The owner that manages an object: its controller, else its only owner.

    A static pod is owned by its node, which does not manage it, and ends at itself.
    """
    references = obj.metadata.owner_references
    owner = controller_of(obj) or (references[0] if len(references) == 1 else None)
    return None if owner is None or (owner.api_version, owner.kind) == ("v1", "Node") else owner


async def owner_chain(api_version: str, kind: str, obj: O, read: ReadOwner[O]) -> list[Owner[O]]:
    """The owners of an object of that kind, nearest first. An owner that cannot be read ends the chain."""
    namespace = obj.metadata.namespace
    visited = {(_group(api_version), kind, obj.metadata.name)}
    chain: list[Owner[O]] = []
    current: O | None = obj
    while current is not None and len(chain) < MAX_OWNERS:
        reference = owner_of(current)
        if (
            reference is None
            or (identity := (_group(reference.api_version), reference.kind, reference.name)) in visited
        ):
            break
        visited.add(identity)
        observed = await read(reference, namespace)
        current = observed.obj
        note = observed.note
        if current is not None and _is_other(reference, current.metadata):
            current, note = None, "another object of this name"
        owner_namespace = namespace if observed.namespaced else ""
        chain.append(Owner(reference=reference, namespace=owner_namespace, obj=current, note=note))
    return chain


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _is_other(reference: OwnerReference, metadata: ObjectMeta) -> bool:
    return bool(reference.uid and metadata.uid and reference.uid != metadata.uid)
