"""Get, list and watch, from memory."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pocketkube.codec import decode, encode
from pocketkube.operations import selectors
from pocketkube.operations.requests import Query
from pocketkube.operations.selectors import Selection
from pocketkube.resources import conversion
from pocketkube.resources.registry import Resource
from pocketkube.status import ApiError, bad_request, gone, not_found
from pocketkube.storage.store import Change, Key, Record, Store

BOOKMARK_INTERVAL = 60.0
"""Seconds between bookmarks of a quiet watch that asked for them."""

_MAX_WATCH_TIMEOUT = 3600.0  # seconds, for watches that name no timeout
_MAX_INITIAL_BATCH = 256  # initial events sent in one piece


def encode_served(resource: Resource, data: bytes) -> bytes:
    """Return stored JSON as this version of the resource shows it."""
    if not resource.needs_conversion:
        return data
    return encode(conversion.to_served(resource, decode(data)))


def get(store: Store, resource: Resource, key: Key) -> Record:
    """Return one record; raise a 404 when there is none."""
    store.commit()
    record = store.get(resource.storage, key)
    if record is None:
        raise not_found(key[1], resource.group, resource.plural)
    return record


@dataclass(frozen=True, kw_only=True)
class ListPage:
    """A part of a list."""

    revision: int
    records: list[Record]
    token: str = ""
    remaining: int | None = None

    def list_metadata(self) -> dict[str, Any]:
        """Return the metadata of the list."""
        head: dict[str, Any] = {"resourceVersion": str(self.revision)}
        if self.token:
            head["continue"] = self.token
            if self.remaining is not None:
                head["remainingItemCount"] = self.remaining
        return head

    def as_json(self, resource: Resource) -> bytes:
        """Return the list."""
        head = encode(self.list_metadata())
        items = b",".join([encode_served(resource, record.data) for record in self.records])
        kind = f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.api_version}","metadata":'
        return b"".join((kind.encode(), head, b',"items":[', items, b"]}"))


def selection_of(resource: Resource, query: Query) -> Selection:
    """Return what a list, watch or deletecollection asks for."""
    return selectors.parse(query.text("labelSelector"), query.text("fieldSelector"), resource.selectable)


def list_objects(store: Store, resource: Resource, namespace: str | None, query: Query) -> ListPage:
    """Return a page of the list; its continuation sees the same moment."""
    store.commit()
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
        requested = _requested_revision(store, query)
        if query.text("resourceVersionMatch") == "Exact" and requested:
            revision = requested
            past = collection.sorted_at(revision, namespace)
            if past is None:
                raise gone(f"The resourceVersion for the provided list is too old: {requested}")
            records = past
        else:
            records = collection.sorted(namespace)
    if start is not None:
        records = [record for record in records if record.key > start]
    wanted = _selected(resource, records, selection)
    if limit <= 0 or len(wanted) <= limit:
        return ListPage(revision=revision, records=wanted)
    page = wanted[:limit]
    # The real server does not count what a selector still hides.
    remaining = None if selection is not selectors.EVERYTHING else len(wanted) - limit
    return ListPage(revision=revision, records=page, token=_write_token(revision, page[-1].key), remaining=remaining)


def _selected(resource: Resource, records: list[Record], selection: Selection) -> list[Record]:
    if selection is selectors.EVERYTHING:
        return records
    return [record for record in records if matches(resource, record, selection)]


def matches(resource: Resource, record: Record, selection: Selection) -> bool:
    """Tell whether a selection wants this record."""
    if selection is selectors.EVERYTHING:
        return True
    return selection.matches(record.labels, record.field)


def _requested_revision(store: Store, query: Query) -> int:
    text = query.text("resourceVersion")
    match = query.text("resourceVersionMatch")
    if match and not query.flag("watch"):
        if match not in {"Exact", "NotOlderThan"}:
            raise _invalid_option(
                "resourceVersionMatch",
                f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""',
                "FieldValueNotSupported",
            )
        if not text:
            message = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            raise _invalid_option("resourceVersionMatch", message, "FieldValueForbidden")
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing'
            f' "{text}": invalid syntax'
        )
    revision = int(text)
    if revision > store.revision:
        raise revision_too_large(revision, store.revision)
    return revision


def _invalid_option(field: str, message: str, reason: str) -> ApiError:
    details = {
        "group": "meta.k8s.io",
        "kind": "ListOptions",
        "causes": [{"reason": reason, "message": message, "field": field}],
    }
    return ApiError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {field}: {message}', details)


def revision_too_large(requested: int, current: int) -> ApiError:
    """The client knows a revision that this server has not reached."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
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
    sends_initial_bookmark: bool
    """Tell by a bookmark when all initial events are sent."""
    bookmarks: bool
    timeout: float
    error: ApiError | None = None


def watch_request(store: Store, resource: Resource, namespace: str | None, query: Query) -> WatchRequest:
    """Return what a watch asks for; a revision out of reach becomes an ERROR event."""
    store.commit()
    collection = store.collection(resource.storage)
    selection = selection_of(resource, query)
    text = query.text("resourceVersion")
    sends_initial_bookmark = query.has("sendInitialEvents") and query.flag("sendInitialEvents")
    _check_initial_events(query)
    if text and not text.isdigit():
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, "", message)
    requested = int(text or 0)
    request = WatchRequest(
        resource=resource,
        namespace=namespace,
        selection=selection,
        after=store.revision,
        initial=[],
        sends_initial_bookmark=sends_initial_bookmark,
        bookmarks=query.flag("allowWatchBookmarks"),
        timeout=float(query.number("timeoutSeconds")) or _MAX_WATCH_TIMEOUT,
    )
    wants_initial = sends_initial_bookmark or (requested == 0 and not query.has("sendInitialEvents"))
    if requested > store.revision:
        return replace(request, after=requested)
    if wants_initial:
        records = _selected(resource, collection.sorted(namespace), selection)
        return replace(request, initial=records)
    if requested == 0:
        return request
    if requested < collection.compacted_revision:
        message = f"too old resource version: {requested} ({collection.compacted_revision})"
        return replace(request, error=gone(message))
    return replace(request, after=requested)


def _check_initial_events(query: Query) -> None:
    if not query.has("sendInitialEvents"):
        if query.text("resourceVersionMatch"):
            message = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise _invalid_option("resourceVersionMatch", message, "FieldValueForbidden")
        return
    if query.text("resourceVersionMatch") != "NotOlderThan":
        message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _invalid_option("resourceVersionMatch", message, "FieldValueForbidden")


Encoder = Callable[[Resource, bytes], bytes]


async def watch_events(
    store: Store, request: WatchRequest, encode_object: Encoder = encode_served
) -> AsyncIterator[bytes]:
    """Yield the events of a watch as JSON lines, until its time is over or history was lost."""
    if request.error is not None:
        yield _line("ERROR", request.error.as_json())
        return
    resource = request.resource
    for start in range(0, len(request.initial), _MAX_INITIAL_BATCH):
        chunk = request.initial[start : start + _MAX_INITIAL_BATCH]
        yield b"".join([_line("ADDED", encode_object(resource, record.data)) for record in chunk])
    if request.sends_initial_bookmark:
        yield _bookmark(resource, request.after, initial=True)
    async for lines in _changes(store, request, encode_object):
        yield lines


async def _changes(store: Store, request: WatchRequest, encode_object: Encoder) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + request.timeout
    marks = loop.time() + BOOKMARK_INTERVAL
    wakeup = asyncio.Event()
    collection = store.collection(request.resource.storage)
    collection.watchers.add(wakeup)
    seen = request.after
    try:
        position = collection.position_after(request.after)
        while True:
            changes = collection.changes_from(position)
            if changes is None:
                yield _line(
                    "ERROR", gone(f"too old resource version: {seen} ({collection.compacted_revision})").as_json()
                )
                return
            if changes:
                position += len(changes)
                seen = changes[-1].revision
                lines = b"".join(_lines(request, changes, encode_object))
                if lines:
                    yield lines
                continue  # more may have happened while the client was slow
            if request.bookmarks and loop.time() >= min(marks, ends):
                marks = loop.time() + BOOKMARK_INTERVAL
                # Nothing of ours lies between the last change sent and what everybody can see now.
                seen = max(seen, store.committed_revision)
                yield _bookmark(request.resource, seen, initial=False)
            if loop.time() >= ends:
                return
            await _wait_for_change(wakeup, (min(ends, marks) if request.bookmarks else ends) - loop.time())
    finally:
        collection.watchers.discard(wakeup)


async def _wait_for_change(wakeup: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await wakeup.wait()
    except TimeoutError:
        return
    wakeup.clear()


def _lines(request: WatchRequest, changes: Iterable[Change], encode_object: Encoder) -> list[bytes]:
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
            lines.append(_line("MODIFIED" if before else "ADDED", encode_object(resource, change.new.data)))
        elif before:
            lines.append(_line("DELETED", encode_object(resource, _last_state(change))))
    return lines


def _last_state(change: Change) -> bytes:
    """Return the last state with the revision of the change, so that a client can resume after it."""
    if change.last_state or change.old is None:
        return change.last_state
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
