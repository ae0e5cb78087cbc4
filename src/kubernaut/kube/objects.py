"""Keys, kinds and metadata: what every Kubernetes object has, and its path.

A `Kind` is a kind's group, version and plural, and the Python type that its objects are decoded into.
The type names only the fields that somebody reads: msgspec skips all others, so decoding is the pruning, and a cache of
10,000 pods stays small. Because of that such an object must never be written back whole (`Client.replace`): the fields
that it lacks would be lost. Change objects with patches.
"""

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from kubernaut.api.meta import ObjectMeta, OwnerReference, Wire

T = TypeVar("T")
Unstructured: TypeAlias = dict[str, Any]
"""An object as a dictionary; `Kind(..., type=Unstructured)` reads and writes such."""


class Key(NamedTuple):
    """Namespace and name of an object; `namespace` is empty for cluster-scoped kinds. As text: `shop/api`, `node-1`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def parse(cls, text: str) -> "Key":
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)


class KubeObject(Protocol):
    """Anything with metadata; all that caches and controllers need of a type."""

    @property
    def metadata(self) -> ObjectMeta: ...


class PartialObjectMetadata(Wire, frozen=True):
    """What objects of every kind share, as `PartialObjectMetadata` of meta/v1."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[T]):
    """A kind of the API and the type its objects are decoded into."""

    group: str = ""
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    type: builtins.type[T]
    _decoder: msgspec.json.Decoder[T] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_decoder", msgspec.json.Decoder(self.type))

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def decode(self, data: bytes | msgspec.Raw) -> T:
        """Raises `msgspec.ValidationError` when the object does not fit the type."""
        return self._decoder.decode(data)

    def with_type(self, type: "builtins.type[U]") -> "Kind[U]":
        """The same kind, decoded into another type."""
        return Kind(
            group=self.group,
            version=self.version,
            kind=self.kind,
            plural=self.plural,
            namespaced=self.namespaced,
            type=type,
        )

    def collection(self, namespace: str = "") -> str:
        """Path of all objects of the kind, in one namespace or in all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            return f"{root}/namespaces/{_segment(namespace)}/{self.plural}"
        return f"{root}/{self.plural}"

    def path(self, key: Key, subresource: str = "") -> str:
        """Path of one object; raises ValueError when the key cannot name one, as the server would not notice."""
        if self.namespaced and not key.namespace:
            raise ValueError(f"{self.kind} {key.name!r} needs a namespace")
        path = f"{self.collection(key.namespace)}/{_segment(key.name)}"
        return f"{path}/{subresource}" if subresource else path


U = TypeVar("U")


def _segment(name: str) -> str:
    # A name with a slash, a query or nothing at all would be another path.
    if not name or name in {".", ".."} or any(sign in name for sign in "/%?#\\ \r\n\t"):
        raise ValueError(f"not a name of a Kubernetes object: {name!r}")
    return name


def key_of(obj: KubeObject | Unstructured) -> Key:
    if isinstance(obj, dict):
        metadata = obj.get("metadata", {})
        return Key(metadata.get("namespace", ""), metadata.get("name", ""))
    return Key(obj.metadata.namespace, obj.metadata.name)


def controller_of(obj: KubeObject) -> OwnerReference | None:
    """The owner reference with `controller: true`, as `metav1.GetControllerOf`."""
    return next((owner for owner in obj.metadata.owner_references if owner.controller), None)


def resource_version_of(obj: KubeObject | Unstructured) -> str:
    if isinstance(obj, dict):
        return str(obj.get("metadata", {}).get("resourceVersion", ""))
    return obj.metadata.resource_version


def is_older(version: str, than: str) -> bool:
    """Whether one resourceVersion precedes another of the same kind; False where that cannot be told."""
    if not (version.isdecimal() and than.isdecimal()):
        return False
    return int(version) < int(than)


def to_body(kind: Kind[Any], obj: object) -> Unstructured:
    """The object as the server wants it, with apiVersion and kind whether or not the type names them."""
    body = dict(obj) if isinstance(obj, Mapping) else msgspec.to_builtins(obj)
    body["apiVersion"] = kind.api_version
    body["kind"] = kind.kind
    return body
