"""Lists and watches as they stand on the wire, decoded without a detour through dictionaries.

One object that cannot be decoded must not hide all others: it is logged, reported and skipped.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec
import structlog

from kubernaut.api.meta import ObjectMeta
from kubernaut.kube.errors import KubeError, Status, from_status
from kubernaut.kube.objects import Kind, PartialObjectMetadata, resource_version_of
from kubernaut.ops.json_faults import JSON_FAULTS

T = TypeVar("T")
log = structlog.get_logger("kube")


@dataclass(frozen=True, kw_only=True)
class ObjectList(Generic[T]):
    """Objects as they all were at one resourceVersion, from which a watch can start."""

    items: list[T]
    resource_version: str


class WatchEvent(NamedTuple, Generic[T]):
    """One line of a watch. A bookmark has no object, only the resourceVersion up to which all was sent."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T | None
    resource_version: str


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    token: str = msgspec.field(default="", name="continue")
    name: str = ""
    namespace: str = ""
    uid: str = ""


class _MetadataOnly(msgspec.Struct):
    metadata: _Metadata


class ListPage(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] | None = None  # Go writes an empty list as null

    @property
    def continue_token(self) -> str:
        """Where the next page begins; empty after the last one."""
        return self.metadata.token


class _Line(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


UndecodableHandler = Callable[[Kind[Any], PartialObjectMetadata, str], None]
"""Gets an object of a kind that could not be decoded, and why; it must not wait."""


def ignore_undecodable(kind: Kind[Any], obj: PartialObjectMetadata, reason: str) -> None:
    """For those who need no more than the log line."""


_page_decoder = msgspec.json.Decoder(ListPage)
_line_decoder = msgspec.json.Decoder(_Line)
_status_decoder = msgspec.json.Decoder(Status)
_metadata_decoder = msgspec.json.Decoder(_MetadataOnly)


def decode_page(data: bytes) -> ListPage:
    try:
        return _page_decoder.decode(data)
    except JSON_FAULTS as error:
        raise KubeError(f"not a Kubernetes list: {error}") from error


def decode_items(kind: Kind[T], page: ListPage, report: UndecodableHandler = ignore_undecodable) -> list[T]:
    """The page's objects, without those that cannot be decoded."""
    decoded = [_decode_or_skip(kind, item, report) for item in page.items or ()]
    return [item for item in decoded if item is not None]


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def decode_watch_event(
    kind: Kind[T], data: bytes, operation: str, report: UndecodableHandler = ignore_undecodable
) -> WatchEvent[T]:
    """One line of a watch; an ERROR raises, as the status code of a response would have.

    An object that cannot be decoded becomes a bookmark, so that the watch gets past it.
    """
    try:
        line = _line_decoder.decode(data)
        if line.type == "ERROR":
            raise from_status(_status_decoder.decode(line.object), operation)
        if line.type != "BOOKMARK":
            obj = _decode_or_skip(kind, line.object, report)
            if obj is not None:
                return WatchEvent(line.type, obj, resource_version_of(cast("Any", obj)))
        return WatchEvent("BOOKMARK", None, _metadata_decoder.decode(line.object).metadata.resource_version)
    except JSON_FAULTS as error:
        raise KubeError(f"{operation}: not a watch event: {error}") from error


def _decode_or_skip(kind: Kind[T], item: msgspec.Raw, report: UndecodableHandler) -> T | None:
    try:
        return kind.decode(item)
    except (msgspec.ValidationError, RecursionError) as error:
        metadata = _metadata_decoder.decode(item).metadata
        name = f"{metadata.namespace}/{metadata.name}".lstrip("/")
        log.error("object skipped, decoding failed", kind=str(kind), object=name, error=str(error))
        identity = ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
        )
        report(kind, PartialObjectMetadata(metadata=identity), str(error))
        return None
