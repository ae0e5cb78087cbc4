"""Get, list and watch, from memory."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pocketkube import selectors, versions
from pocketkube.requests import Query
from pocketkube.resources import Resource
from pocketkube.selectors import Selection
from pocketkube.status import ApiError, bad_request, gone, not_found
from pocketkube.store import Change, Key, Record, Store, decode, encode

BOOKMARK_EVERY = 60.0
"""Seconds between bookmarks of a quiet watch that asked for them."""

_WATCH_AT_MOST = 3600.0  # seconds, for watches that name no timeout
_BATCH = 256  # initial events sent in one piece


def presented(resource: Resource, data: bytes) -> bytes:
    """Return stored JSON as this version of the resource shows it."""
    if not resource.converts:
        return data
    return encode(versions.shown(resource, decode(data)))


def get(store: Store, resource: Resource, key: Key) -> Record:
    """Return one record; raise a 404 when there is none."""
    store.settle()
    record = store.get(resource.storage, key)
    if record is None:
        raise not_found(key[1], resource.group, resource.plural)
    return record


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a list."""

    revision: int
    records: list[Record]
    token: str = ""
    remaining: int | None = None

    def as_object_head(self) -> dict[str, Any]:
        """Return the metadata of the list."""
        head: dict[str, Any] = {"resourceVersion": str(self.revision)}
        if self.token:
            head["continue"] = self.token
            if self.remaining is not None:
                head["remainingItemCount"] = self.remaining
        return head

    def as_json(self, resource: Resource) -> bytes:
        """Return the list."""
        head = encode(self.as_object_head())
        items = b",".join([presented(resource, record.data) for record in self.records])
        kind = f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.api_version}","metadata":'
        return b"".join((kind.encode(), head, b',"items":[', items, b"]}"))


def selection_of(resource: Resource, query: Query) -> Selection:
    """Return what a list, watch or deletecollection asks for."""
    return selectors.parse(query.text("labelSelector"), query.text("fieldSelector"), resource.selectable)


def listed(store: Store, resource: Resource, namespace: str | None, query: Query) -> Page:
    """Return a page of the list; its continuation sees the same moment."""
    store.settle()
    collection = store.collection(resource.storage)
    selection = selection_of(resource, query)
    limit = query.number("limit")
    revision, start = store.revision, None
    if query.text("continue"):
        revision, start = _read_token(query)
        records = collection.sorted_at(revision, namespace)
        if records is None:
            raise _expired_token()
    else:
        asked = _asked_revision(store, query)
        if query.text("resourceVersionMatch") == "Exact" and asked:
            revision = asked
            past = collection.sorted_at(revision, namespace)
            if past is None:
                raise gone(f"The resourceVersion for the provided list is too old: {asked}")
            records = past
        else:
            records = collection.sorted(namespace)
    if start is not None:
        records = [record for record in records if record.key > start]
    wanted = _selected(resource, records, selection)
    if limit <= 0 or len(wanted) <= limit:
        return Page(revision=revision, records=wanted)
    page = wanted[:limit]
    # The real server does not count what a selector still hides.
    remaining = None if selection is not selectors.EVERYTHING else len(wanted) - limit
    return Page(revision=revision, records=page, token=_write_token(revision, page[-1].key), remaining=remaining)


def _selected(resource: Resource, records: list[Record], selection: Selection) -> list[Record]:
    if selection is selectors.EVERYTHING:
        return records
    return [record for record in records if matches(resource, record, selection)]


def matches(resource: Resource, record: Record, selection: Selection) -> bool:
    """Tell whether a selection wants this record."""
    if selection is selectors.EVERYTHING:
        return True
    return selection.matches(record.labels, record.field)


def _asked_revision(store: Store, query: Query) -> int:
    text = query.text("resourceVersion")
    match = query.text("resourceVersionMatch")
    if match and not query.flag("watch"):
        if match not in {"Exact", "NotOlderThan"}:
            raise _bad_option(
                "resourceVersionMatch",
                f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""',
                "FieldValueNotSupported",
            )
        if not text:
            message = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            raise _bad_option("resourceVersionMatch", message, "FieldValueForbidden")
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing'
            f' "{text}": invalid syntax'
        )
    revision = int(text)
    if revision > store.revision:
        raise too_new(revision, store.revision)
    return revision


def _bad_option(field: str, message: str, reason: str) -> ApiError:
    details = {
        "group": "meta.k8s.io",
        "kind": "ListOptions",
        "causes": [{"reason": reason, "message": message, "field": field}],
    }
    return ApiError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {field}: {message}', details)


def too_new(asked: int, current: int) -> ApiError:
    """The client knows a revision that this server has not reached."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details)


def _write_token(revision: int, last: Key) -> str:
    text = encode({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(last)})
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _read_token(query: Query) -> tuple[int, Key]:
    token = query.text("continue")
    if query.text("resourceVersion") not in {"", "0"}:
        raise bad_request("specifying resource version is not allowed when using continue")
    try:
        content = decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = content["start"].partition("/")
        return int(content["rv"]), (namespace, name)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None


def _expired_token() -> ApiError:
    return gone(
        "The provided continue parameter is too old to display a consistent list result. You can start a new"
        " list without the continue parameter."
    )


@dataclass(frozen=True, kw_only=True)
class WatchRequest:
    """One watch: what it sees and from when on."""

    resource: Resource
    namespace: str | None
    selection: Selection
    after: int
    """Changes later than this revision are sent."""
    initial: list[Record]
    """Sent first, as ADDED."""
    announces: bool
    """Tell by a bookmark when all initial events are sent."""
    bookmarks: bool
    timeout: float
    error: ApiError | None = None


def watch_request(store: Store, resource: Resource, namespace: str | None, query: Query) -> WatchRequest:
    """Return what a watch asks for; a revision out of reach becomes an ERROR event."""
    store.settle()
    collection = store.collection(resource.storage)
    selection = selection_of(resource, query)
    text = query.text("resourceVersion")
    announces = query.has("sendInitialEvents") and query.flag("sendInitialEvents")
    _check_initial_events(query)
    if text and not text.isdigit():
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, "", message)
    asked = int(text or 0)
    request = WatchRequest(
        resource=resource,
        namespace=namespace,
        selection=selection,
        after=store.revision,
        initial=[],
        announces=announces,
        bookmarks=query.flag("allowWatchBookmarks"),
        timeout=float(query.number("timeoutSeconds")) or _WATCH_AT_MOST,
    )
    wants_initial = announces or (asked == 0 and not query.has("sendInitialEvents"))
    if asked > store.revision:
        return replace(request, after=asked)
    if wants_initial:
        records = _selected(resource, collection.sorted(namespace), selection)
        return replace(request, initial=records)
    if asked == 0:
        return request
    if asked < collection.floor:
        message = f"too old resource version: {asked} ({collection.floor})"
        return replace(request, error=gone(message))
    return replace(request, after=asked)


def _check_initial_events(query: Query) -> None:
    if not query.has("sendInitialEvents"):
        if query.text("resourceVersionMatch"):
            message = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise _bad_option("resourceVersionMatch", message, "FieldValueForbidden")
        return
    if query.text("resourceVersionMatch") != "NotOlderThan":
        message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _bad_option("resourceVersionMatch", message, "FieldValueForbidden")


Show = Callable[[Resource, bytes], bytes]


async def watched(store: Store, request: WatchRequest, show: Show = presented) -> AsyncIterator[bytes]:
    """Yield the events of a watch as JSON lines, until its time is over or history was lost."""
    if request.error is not None:
        yield _line("ERROR", request.error.as_json())
        return
    resource = request.resource
    for start in range(0, len(request.initial), _BATCH):
        chunk = request.initial[start : start + _BATCH]
        yield b"".join([_line("ADDED", show(resource, record.data)) for record in chunk])
    if request.announces:
        yield _bookmark(resource, request.after, initial=True)
    async for lines in _changes(store, request, show):
        yield lines


async def _changes(store: Store, request: WatchRequest, show: Show) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + request.timeout
    marks = loop.time() + BOOKMARK_EVERY
    awake = asyncio.Event()
    collection = store.collection(request.resource.storage)
    collection.watchers.add(awake)
    seen = request.after
    try:
        position = collection.position_after(request.after)
        while True:
            changes = collection.since(position)
            if changes is None:
                yield _line("ERROR", gone(f"too old resource version: {seen} ({collection.floor})").as_json())
                return
            if changes:
                position += len(changes)
                seen = changes[-1].revision
                lines = b"".join(_lines(request, changes, show))
                if lines:
                    yield lines
                continue  # more may have happened while the client was slow
            if request.bookmarks and loop.time() >= min(marks, ends):
                marks = loop.time() + BOOKMARK_EVERY
                # Nothing of ours lies between the last change sent and what everybody can see now.
                seen = max(seen, store.settled)
                yield _bookmark(request.resource, seen, initial=False)
            if loop.time() >= ends:
                return
            await _woken(awake, (min(ends, marks) if request.bookmarks else ends) - loop.time())
    finally:
        collection.watchers.discard(awake)


async def _woken(awake: asyncio.Event, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await awake.wait()
    except TimeoutError:
        return
    awake.clear()


def _lines(request: WatchRequest, changes: Iterable[Change], show: Show) -> list[bytes]:
    """Return the events this watch sees: an object that starts or stops matching comes and goes."""
    lines: list[bytes] = []
    resource, namespace = request.resource, request.namespace
    for change in changes:
        record = change.new or change.old
        if record is None or change.revision <= request.after:
            continue
        if namespace is not None and record.key[0] != namespace:
            continue
        now = change.new is not None and matches(resource, change.new, request.selection)
        before = change.old is not None and matches(resource, change.old, request.selection)
        if now and change.new is not None:
            lines.append(_line("MODIFIED" if before else "ADDED", show(resource, change.new.data)))
        elif before:
            lines.append(_line("DELETED", show(resource, _farewell(change))))
    return lines


def _farewell(change: Change) -> bytes:
    """Return the last state with the revision of the change, so that a client can resume after it."""
    if change.farewell or change.old is None:
        return change.farewell
    last = change.old.as_object()
    last["metadata"]["resourceVersion"] = str(change.revision)
    return encode(last)


def _line(kind: str, data: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), data)


def _bookmark(resource: Resource, revision: int, *, initial: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    content = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return _line("BOOKMARK", encode(content))
