"""What controllers of a real cluster do when things are deleted.

A deleted namespace loses its contents and then itself; a deleted definition its objects; an object
whose owners are all gone follows them. Work is found through the store's changes, done in small
portions, and done again from the start after a restart, since each step can be repeated.
"""

import asyncio
import logging
from collections.abc import Iterable

from pocketkube.operations.writer import Deletion, Writer
from pocketkube.resources import crds
from pocketkube.resources.registry import Object, Registry, Resource
from pocketkube.status import ApiError
from pocketkube.storage.store import Change, Key, Record, Store

_MAX_BATCH = 100  # objects deleted before others get a turn

ObjectRef = tuple[str, Key]
log = logging.getLogger(__name__)


class GarbageCollector:
    """Ends namespaces and definitions, and collects orphans."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._writer = Writer(store, registry)
        self._refs_by_uid: dict[str, ObjectRef] = {}  # by uid, of everything that exists
        self._dependents: dict[str, set[ObjectRef]] = {}  # by uid of the owner
        self._queue: dict[ObjectRef, None] = {}
        self._wakeup = asyncio.Event()
        for collection in store.collections():
            for record in collection.records.values():
                self._index(collection.storage, record)
        for collection in store.collections():
            for record in collection.records.values():
                if record.deleting or record.owners:
                    self._queue[collection.storage, record.key] = None
        store.subscribe(self._on_change)

    def _index(self, storage: str, record: Record) -> None:
        self._refs_by_uid[record.uid] = (storage, record.key)
        for owner in record.owners:
            self._dependents.setdefault(owner.uid, set()).add((storage, record.key))

    def _on_change(self, storage: str, change: Change) -> None:
        """Note what a change may have left to do."""
        old, new = change.old, change.new
        if old is not None:
            for owner in old.owners:
                dependents = self._dependents.get(owner.uid)
                if dependents is not None:
                    dependents.discard((storage, old.key))
                    if not dependents:
                        del self._dependents[owner.uid]
            if new is None:
                self._refs_by_uid.pop(old.uid, None)
                self._enqueue(self._dependents.get(old.uid, ()))
                self._enqueue(self._waiting_on(storage, old))
        if new is not None:
            self._index(storage, new)
            if new.deleting or new.owners:
                self._enqueue([(storage, new.key)])

    def _waiting_on(self, storage: str, gone: Record) -> Iterable[ObjectRef]:
        """Return who may have waited for the end of this object."""
        for owner in gone.owners:
            if owner.uid in self._refs_by_uid:
                yield self._refs_by_uid[owner.uid]
        if gone.key[0]:
            yield ("namespaces", ("", gone.key[0]))
        resource = self._registry.for_storage(storage)
        if resource is not None and resource.custom is not None:
            yield (crds.STORAGE, ("", storage))

    def _enqueue(self, refs: Iterable[ObjectRef]) -> None:
        for ref in refs:
            self._queue[ref] = None
        if self._queue:
            self._wakeup.set()

    async def run(self) -> None:
        """Process the queue until cancelled."""
        self._enqueue(())
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            done = 0
            while self._queue:
                ref = next(iter(self._queue))
                del self._queue[ref]
                try:
                    self._process(ref)
                except ApiError as error:
                    log.error("garbage collection failed: %s: %s", ref, error.message)
                done += 1
                if done % _MAX_BATCH == 0:
                    await asyncio.sleep(0)

    def _process(self, ref: ObjectRef) -> None:
        storage, key = ref
        record = self._store.get(storage, key)
        resource = self._registry.for_storage(storage)
        if record is None or resource is None:
            return
        if record.owners and not record.deleting:
            self._collect(resource, record)
            return
        if not record.deleting:
            return
        if storage == "namespaces":
            self._finalize_namespace(resource, record)
        elif storage == crds.STORAGE:
            self._finalize_definition(resource, record)
        self._finalize_owner(storage, key)

    def _finalize_namespace(self, resource: Resource, record: Record) -> None:
        """Delete what is inside; the last one to go brings us here again."""
        name = record.key[1]
        left = 0
        for collection in self._store.collections():
            inside = list(collection.namespaces.get(name, {}).values())
            left += self._delete_all(collection.storage, inside)
        if left:
            return
        value = record.as_object()
        value.get("spec", {}).pop("finalizers", None)
        if value["metadata"].get("finalizers"):
            self._store.put(resource.storage, record.key, value)
        else:
            self._store.remove(resource.storage, record.key, value)

    def _finalize_definition(self, resource: Resource, record: Record) -> None:
        value = record.as_object()
        storage = record.key[1]
        if self._delete_all(storage, list(self._store.collection(storage).records.values())):
            return
        self._drop_finalizer(resource, record.key, value, crds.FINALIZER)

    def _delete_all(self, storage: str, records: list[Record]) -> int:
        """Delete all, and return how many still wait for finalizers."""
        resource = self._registry.for_storage(storage)
        for record in records:
            if not record.deleting:
                if resource is None:
                    self._store.remove(storage, record.key, record.as_object())
                else:
                    self._writer.delete(resource, record.key, Deletion())
        return sum(self._store.get(storage, record.key) is not None for record in records)

    def _collect(self, resource: Resource, record: Record) -> None:
        """Delete an object whose owners are all gone; drop references to owners that are gone."""
        present = [owner for owner in record.owners if self._exists(owner.uid, record)]
        if len(present) == len(record.owners):
            return
        if not present:
            self._writer.delete(resource, record.key, Deletion(uid=record.uid, policy="Background"))
            return
        left = {owner.uid for owner in present}
        value = record.as_object()
        references = value["metadata"]["ownerReferences"]
        value["metadata"]["ownerReferences"] = [owner for owner in references if owner["uid"] in left]
        self._store.put(resource.storage, record.key, value)

    def _exists(self, uid: str, dependent: Record) -> bool:
        ref = self._refs_by_uid.get(uid)
        if ref is None:
            return False
        storage, key = ref
        if key[0] not in {"", dependent.key[0]}:
            return False
        owner = self._store.get(storage, key)
        return owner is not None and owner.uid == uid

    def _finalize_owner(self, storage: str, key: Key) -> None:
        """Finish a deletion that first orphans or first deletes its dependents."""
        record = self._store.get(storage, key)
        resource = self._registry.for_storage(storage)
        if record is None or resource is None or not record.deleting:
            return
        value = record.as_object()
        finalizers = value["metadata"].get("finalizers", [])
        dependents = [
            (ref, found)
            for ref in sorted(self._dependents.get(record.uid, ()))
            if (found := self._store.get(*ref)) is not None
        ]
        if "orphan" in finalizers:
            for ref, dependent in dependents:
                self._orphan(ref, dependent, record.uid)
            self._drop_finalizer(resource, key, value, "orphan")
        elif "foregroundDeletion" in finalizers:
            blocking = [(ref, found) for ref, found in dependents if _blocks_deletion(found, record.uid)]
            for ref, dependent in dependents:
                owned_by = self._registry.for_storage(ref[0])
                if owned_by is not None and not dependent.deleting and len(dependent.owners) == 1:
                    self._writer.delete(owned_by, dependent.key, Deletion(policy="Foreground"))
            if not blocking:
                self._drop_finalizer(resource, key, value, "foregroundDeletion")

    def _orphan(self, ref: ObjectRef, dependent: Record, uid: str) -> None:
        value = dependent.as_object()
        left = [owner for owner in value["metadata"].get("ownerReferences", []) if owner.get("uid") != uid]
        if left:
            value["metadata"]["ownerReferences"] = left
        else:
            value["metadata"].pop("ownerReferences", None)
        self._store.put(ref[0], dependent.key, value)

    def _drop_finalizer(self, resource: Resource, key: Key, value: Object, finalizer: str) -> None:
        left = [name for name in value["metadata"].get("finalizers", []) if name != finalizer]
        if left:
            value["metadata"]["finalizers"] = left
            self._store.put(resource.storage, key, value)
            return
        value["metadata"].pop("finalizers", None)
        self._store.remove(resource.storage, key, value)


def _blocks_deletion(dependent: Record, uid: str) -> bool:
    return any(owner.uid == uid and owner.block_owner_deletion for owner in dependent.owners)
