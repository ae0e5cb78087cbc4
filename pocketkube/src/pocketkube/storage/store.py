"""All objects in memory, their revisions, and the recent history that watches read.

A revision is the server's clock: each write gets the next one, and none is used twice, also not
after a crash. Objects are kept as the JSON that is sent, beside the few facts that selectors and
ownership need, so that ten thousand objects stay small and a read costs no encoding.
Writes of one turn of the event loop share one transaction; nobody sees a write before it is on disk.
"""

import asyncio
import logging
import sqlite3
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pocketkube.codec import decode, encode
from pocketkube.resources.registry import Object
from pocketkube.status import ApiError
from pocketkube.storage.persistence import SqliteBackend, Write

MAX_HISTORY = 8192
"""Changes of one resource that watches can go back."""

_REVISION_GAP = 1000  # revisions skipped by a restart: more than any batch that was lost on the way to the disk

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace (empty for cluster-wide objects) and name."""


class OwnerReference(msgspec.Struct, rename="camel", frozen=True):
    """Who an object belongs to."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(msgspec.Struct, rename="camel"):
    """The part of an object's metadata that the store itself needs."""

    uid: str = ""
    labels: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None
    deletion_timestamp: str | None = None


class _Envelope(msgspec.Struct):
    metadata: Metadata


_read_envelope = msgspec.json.Decoder(_Envelope).decode


class Record:
    """One version of one object; never changed after it is made."""

    __slots__ = ("data", "deleting", "key", "labels", "owners", "revision", "uid")

    def __init__(self, key: Key, revision: int, data: bytes) -> None:
        metadata = _read_envelope(data).metadata
        self.key = key
        self.revision = revision
        self.data = data
        self.uid = metadata.uid
        self.labels: dict[str, str] = metadata.labels or {}
        self.owners: list[OwnerReference] = metadata.owner_references or []
        self.deleting = metadata.deletion_timestamp is not None

    def as_object(self) -> Object:
        """Return a fresh copy of the object."""
        value: Object = decode(self.data)
        return value

    def field(self, path: str) -> str:
        """Return the value that a field selector compares."""
        if path == "metadata.name":
            return self.key[1]
        if path == "metadata.namespace":
            return self.key[0]
        value: Any = self.as_object()
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)


class Change(NamedTuple):
    """One write: what stood there and what stands there now."""

    revision: int
    old: Record | None
    new: Record | None
    last_state: bytes
    """The last state of a deleted object, with the revision of its deletion."""


class Collection:
    """The objects of one storage and their recent history."""

    def __init__(self, storage: str, compacted_revision: int) -> None:
        self.storage = storage
        self.records: dict[Key, Record] = {}
        self.namespaces: dict[str, dict[str, Record]] = {}
        self.compacted_revision = compacted_revision
        """Watches from before this revision have missed something."""
        self.changes: list[Change] = []
        self.dropped = 0
        """How many changes left the history; a position in it is counted from the very first one."""
        self.watchers: set[asyncio.Event] = set()

    def put(self, key: Key, record: Record | None) -> None:
        """Let the record stand at the key, or nothing."""
        namespace, name = key
        if record is None:
            self.records.pop(key, None)
            inside = self.namespaces.get(namespace)
            if inside is not None:
                inside.pop(name, None)
                if not inside:
                    del self.namespaces[namespace]
        else:
            self.records[key] = record
            self.namespaces.setdefault(namespace, {})[name] = record

    def sorted(self, namespace: str | None) -> list[Record]:
        """Return the records of one namespace, or of all, in the order of their keys."""
        if namespace is not None:
            inside = self.namespaces.get(namespace, {})
            return [inside[name] for name in sorted(inside)]
        return [self.records[key] for key in sorted(self.records)]

    def sorted_at(self, revision: int, namespace: str | None) -> list[Record] | None:
        """Return the records as they stood at a revision; None when history does not reach back."""
        if revision < self.compacted_revision:
            return None
        past: dict[Key, Record | None] = {}
        for change in reversed(self.changes):
            if change.revision <= revision:
                break
            record = change.old or change.new
            if record is not None and (namespace is None or record.key[0] == namespace):
                past[record.key] = change.old
        if not past:
            return self.sorted(namespace)
        now = self.records if namespace is None else {r.key: r for r in self.sorted(namespace)}
        merged = {**now, **past}
        return [record for _, record in sorted(merged.items()) if record is not None]

    def position_after(self, revision: int) -> int:
        """Return the position of the first change later than the revision."""
        return self.dropped + bisect_right(self.changes, revision, key=lambda change: change.revision)

    def changes_from(self, position: int) -> list[Change] | None:
        """Return the changes from a position on; None when they left the history."""
        if position < self.dropped:
            return None
        return self.changes[position - self.dropped :]

    def append(self, change: Change) -> None:
        """Add to the history, and let its oldest part go when it grew too long."""
        self.changes.append(change)
        if len(self.changes) >= 2 * MAX_HISTORY:
            self.compacted_revision = self.changes[MAX_HISTORY - 1].revision
            del self.changes[:MAX_HISTORY]
            self.dropped += MAX_HISTORY

    def notify_watchers(self) -> None:
        """Tell all watchers that there is something new."""
        for watcher in self.watchers:
            watcher.set()


class Store:
    """Everything the server knows."""

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend
        self._collections: dict[str, Collection] = {}
        self._pending: list[tuple[Collection, Change]] = []
        self._committed: asyncio.Future[None] | None = None
        self._listeners: list[Callable[[str, Change], None]] = []
        written = backend.revision()
        for storage, namespace, name, revision, data in backend.rows():
            key = (namespace, name)
            self.collection(storage).put(key, Record(key, revision, data))
        self.revision = written + _REVISION_GAP if written else 1
        self.committed_revision = self.revision
        """Up to this revision everything is on disk and in the history."""
        for collection in self._collections.values():
            collection.compacted_revision = self.revision

    def collection(self, storage: str) -> Collection:
        """Return a collection; an unknown one is empty."""
        found = self._collections.get(storage)
        if found is None:
            # Nothing was ever deleted here that a watch since the start could have missed.
            found = self._collections[storage] = Collection(storage, getattr(self, "revision", 0))
        return found

    def collections(self) -> Iterator[Collection]:
        """Go through all collections that exist now."""
        yield from list(self._collections.values())

    def subscribe(self, listener: Callable[[str, Change], None]) -> None:
        """Call the listener with storage and change after each write is on disk."""
        self._listeners.append(listener)

    def get(self, storage: str, key: Key) -> Record | None:
        """Return the record that stands at the key."""
        return self.collection(storage).records.get(key)

    def put(self, storage: str, key: Key, value: Object) -> Record:
        """Let the object stand at the key, under the next revision, which it carries from now on."""
        self.revision += 1
        value["metadata"]["resourceVersion"] = str(self.revision)
        record = Record(key, self.revision, encode(value))
        self._apply(storage, key, record, b"")
        return record

    def remove(self, storage: str, key: Key, last: Object) -> bytes:
        """Remove what stands at the key, and return its last state as watches will see it."""
        self.revision += 1
        last["metadata"]["resourceVersion"] = str(self.revision)
        last_state = encode(last)
        self._apply(storage, key, None, last_state)
        return last_state

    def _apply(self, storage: str, key: Key, record: Record | None, last_state: bytes) -> None:
        collection = self.collection(storage)
        change = Change(self.revision, collection.records.get(key), record, last_state)
        collection.put(key, record)
        if not self._pending:
            self._committed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self.commit)
        self._pending.append((collection, change))

    def committed(self) -> Awaitable[None]:
        """Wait until everything written so far is on disk; raises when it could not be written."""
        if self._committed is None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return self._committed

    def commit(self) -> None:
        """Put on disk what waits, then show it to watches; after a failure it never happened."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        committed, self._committed = self._committed, None
        try:
            self._backend.write((_write_of(collection, change) for collection, change in pending), self.revision)
        except sqlite3.Error as error:
            for collection, change in reversed(pending):
                collection.put(_key(change), change.old)
            log.error("commit of %d writes failed: %s", len(pending), error)
            if committed is not None:
                committed.set_exception(ApiError(500, "InternalError", f"Internal error occurred: {error}"))
                committed.exception()  # a writer that went away meanwhile is no reason for a warning
            return
        self.committed_revision = self.revision
        for collection, change in pending:
            collection.append(change)
            for listener in self._listeners:
                listener(collection.storage, change)
        for collection in {collection for collection, _ in pending}:
            collection.notify_watchers()
        if committed is not None and not committed.done():
            committed.set_result(None)

    def close(self) -> None:
        """Put on disk what waits, and let go of the file."""
        self.commit()
        self._backend.close()


def open_store(directory: Path) -> Store:
    """Return the store that lives in the directory."""
    return Store(SqliteBackend(directory / "objects.sqlite"))


def _key(change: Change) -> Key:
    record = change.new or change.old
    assert record is not None  # noqa: S101 - a change has at least one side
    return record.key


def _write_of(collection: Collection, change: Change) -> Write:
    key = (collection.storage, *_key(change))
    return key, change.revision, change.new.data if change.new is not None else None
