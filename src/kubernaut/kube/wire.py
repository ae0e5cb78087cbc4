"""Lists and watches as they stand on the wire, decoded without a detour through dictionaries.

One object that does not fit its type must not blind us to all others: it is logged and left out.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec
import structlog

from kubernaut.kube.errors import KubeError, Status, from_status
from kubernaut.kube.objects import Kind, version_of

T = TypeVar("T")
log = structlog.get_logger("kube")


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[T]):
    """Objects as they all were at one resourceVersion, from which a watch can go on."""

    items: list[T]
    resource_version: str


class WatchEvent(NamedTuple, Generic[T]):
    """One line of a watch. A bookmark has no object, only the resourceVersion up to which all was seen."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T | None
    resource_version: str


class _Position(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    token: str = msgspec.field(default="", name="continue")
    name: str = ""
    namespace: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Position


class Page(msgspec.Struct):
    metadata: _Position
    items: list[msgspec.Raw] | None = None  # Go writes an empty list as null

    @property
    def token(self) -> str:
        """Where the next page begins; empty after the last one."""
        return self.metadata.token


class _Line(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


_pages = msgspec.json.Decoder(Page)
_lines = msgspec.json.Decoder(_Line)
_statuses = msgspec.json.Decoder(Status)
_versions = msgspec.json.Decoder(_Versioned)


def page(data: bytes) -> Page:
    try:
        return _pages.decode(data)
    except msgspec.DecodeError as error:
        raise KubeError(f"not a list of a Kubernetes API: {error}") from error


def decode_items(kind: Kind[T], page: Page) -> list[T]:
    """The page's objects, without those that do not fit the type."""
    decoded = [_decoded(kind, item) for item in page.items or ()]
    return [item for item in decoded if item is not None]


async def watch_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def watch_event(kind: Kind[T], data: bytes, what: str) -> WatchEvent[T]:
    """One line of a watch; an ERROR raises, as the status code of an answer would have.

    An object that does not fit the type becomes a bookmark, so that the watch gets past it.
    """
    try:
        line = _lines.decode(data)
        if line.type == "ERROR":
            raise from_status(_statuses.decode(line.object), what)
        if line.type != "BOOKMARK":
            obj = _decoded(kind, line.object)
            if obj is not None:
                return WatchEvent(line.type, obj, version_of(cast("Any", obj)))
        return WatchEvent("BOOKMARK", None, _versions.decode(line.object).metadata.resource_version)
    except msgspec.DecodeError as error:
        raise KubeError(f"{what}: not a watch event: {error}") from error


def _decoded(kind: Kind[T], item: msgspec.Raw) -> T | None:
    try:
        return kind.decode(item)
    except msgspec.ValidationError as error:
        metadata = _versions.decode(item).metadata
        name = f"{metadata.namespace}/{metadata.name}".lstrip("/")
        log.error("object left out, it does not fit its type", kind=str(kind), object=name, error=str(error))
        return None
