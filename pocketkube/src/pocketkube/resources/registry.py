"""What the server serves: one `Resource` per group, version and plural, and the registry of all of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pocketkube.resources.custom import CustomVersion

Object = dict[str, Any]  # a Kubernetes object is JSON whose shape only its schema knows

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """One kind as one API version serves it."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = False
    has_generation: bool = False
    """True when a change outside of metadata and status raises metadata.generation."""
    selectable: tuple[str, ...] = ()
    """Paths that field selectors may name besides metadata.name and metadata.namespace."""
    storage: str = ""
    """Where the objects live; two resources that show the same objects share it."""
    custom: CustomVersion | None = None
    list_kind: str = ""
    stored_version: str = ""
    """The apiVersion of the stored form; empty when it is this one."""
    api_version: str = field(init=False)

    def __post_init__(self) -> None:
        """Fill in what follows from the rest."""
        version = f"{self.group}/{self.version}" if self.group else self.version
        object.__setattr__(self, "api_version", version)
        object.__setattr__(self, "list_kind", self.list_kind or f"{self.kind}List")
        where = self.storage or (f"{self.plural}.{self.group}" if self.group else self.plural)
        object.__setattr__(self, "storage", where)
        object.__setattr__(self, "stored_version", self.stored_version or version)

    @property
    def needs_conversion(self) -> bool:
        """Tell whether objects are stored in another version than this one."""
        return self.stored_version != self.api_version


class Registry:
    """All served resources; custom ones come and go."""

    def __init__(self, builtin: Iterable[Resource]) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._by_storage: dict[str, Resource] = {}
        self._versions: dict[str, dict[str, None]] = {}
        self.generation = 0
        """Counts changes, so that derived documents know when they are stale."""
        for resource in builtin:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Serve the resource, in place of an older one of the same name."""
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.api_version, resource.kind] = resource
        self._by_storage.setdefault(resource.storage, resource)
        self._refresh()

    def remove(self, group: str, plural: str) -> None:
        """Serve none of the versions of this resource any more."""
        for path, resource in list(self._by_path.items()):
            if path[0] == group and path[2] == plural:
                del self._by_path[path]
                self._by_kind.pop((resource.api_version, resource.kind), None)
                self._by_storage.pop(resource.storage, None)
        self._refresh()

    def replace(self, group: str, plural: str, resources: Iterable[Resource]) -> None:
        """Serve these versions of a resource and no others; the first is the stored one."""
        self.remove(group, plural)
        for resource in resources:
            self.add(resource)

    def for_path(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource of a path."""
        return self._by_path.get((group, version, plural))

    def for_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of an object's apiVersion and kind."""
        return self._by_kind.get((api_version, kind))

    def for_storage(self, storage: str) -> Resource | None:
        """Return the resource whose version the stored objects have."""
        return self._by_storage.get(storage)

    def has_version(self, group: str, version: str) -> bool:
        """Tell whether anything is served there."""
        return version in self._versions.get(group, {})

    def versions(self, group: str) -> list[str]:
        """Return the versions of a group, the preferred one first."""
        return list(self._versions.get(group, {}))

    def groups(self) -> list[str]:
        """Return the names of all groups but the core one."""
        return [group for group in self._versions if group]

    def __iter__(self) -> Iterator[Resource]:
        """Go through all resources, by group, version and plural."""
        return iter(sorted(self._by_path.values(), key=lambda r: (r.group, r.version, r.plural)))

    def _refresh(self) -> None:
        self.generation += 1
        groups: dict[str, set[str]] = {}
        for group, version, _ in self._by_path:
            groups.setdefault(group, set()).add(version)
        self._versions = {
            group: dict.fromkeys(sorted(versions, key=version_rank)) for group, versions in groups.items()
        }


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts v2 before v1 before v1beta2 before v1alpha1 before anything else."""
    head, _, tail = version.removeprefix("v").partition("beta")
    stage = 1 if tail else 0
    if not tail:
        head, _, tail = head.partition("alpha")
        stage = 2 if tail else 0
    if not version.startswith("v") or not head.isdigit() or (stage and not tail.isdigit()):
        return (3, 0, 0, version)
    return (stage, -int(head), -int(tail or 0), version)
