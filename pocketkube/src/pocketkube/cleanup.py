"""What controllers of a real cluster do when things are deleted.

A deleted namespace loses its contents and then itself; a deleted definition its objects; an object
whose owners are all gone follows them. Work is found through the store's changes, done in small
portions, and done again from the start after a restart, since each step can be repeated.
"""

import asyncio
import logging
from collections.abc import Iterable

from pocketkube import crds
from pocketkube.resources import Object, Registry, Resource
from pocketkube.status import ApiError
from pocketkube.store import Change, Key, Record, Store
from pocketkube.writing import Deletion, Writer

_PORTION = 100  # objects deleted before others get a turn

Place = tuple[str, Key]
log = logging.getLogger(__name__)


class Cleanup:
    """Ends namespaces and definitions, and collects orphans."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._writer = Writer(store, registry)
        self._places: dict[str, Place] = {}  # by uid, of everything that exists
        self._dependents: dict[str, set[Place]] = {}  # by uid of the owner
        self._work: dict[Place, None] = {}
        self._awake = asyncio.Event()
        for collection in store.collections():
            for record in collection.records.values():
                self._learn(collection.storage, record)
        for collection in store.collections():
            for record in collection.records.values():
                if record.deleting or record.owners:
                    self._work[collection.storage, record.key] = None
        store.listen(self._follow)

    def _learn(self, storage: str, record: Record) -> None:
        self._places[record.uid] = (storage, record.key)
        for owner in record.owners:
            self._dependents.setdefault(owner.uid, set()).add((storage, record.key))

    def _follow(self, storage: str, change: Change) -> None:
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
                self._places.pop(old.uid, None)
                self._note(self._dependents.get(old.uid, ()))
                self._note(self._waiting_for(storage, old))
        if new is not None:
            self._learn(storage, new)
            if new.deleting or new.owners:
                self._note([(storage, new.key)])

    def _waiting_for(self, storage: str, gone: Record) -> Iterable[Place]:
        """Return who may have waited for the end of this object."""
        for owner in gone.owners:
            if owner.uid in self._places:
                yield self._places[owner.uid]
        if gone.key[0]:
            yield ("namespaces", ("", gone.key[0]))
        resource = self._registry.stored_as(storage)
        if resource is not None and resource.custom is not None:
            yield (crds.STORAGE, ("", storage))

    def _note(self, places: Iterable[Place]) -> None:
        for place in places:
            self._work[place] = None
        if self._work:
            self._awake.set()

    async def run(self) -> None:
        """Do what is to be done, for ever."""
        self._note(())
        while True:
            await self._awake.wait()
            self._awake.clear()
            done = 0
            while self._work:
                place = next(iter(self._work))
                del self._work[place]
                try:
                    self._look_at(place)
                except ApiError as error:
                    log.error("garbage collection failed: %s: %s", place, error.message)
                done += 1
                if done % _PORTION == 0:
                    await asyncio.sleep(0)

    def _look_at(self, place: Place) -> None:
        storage, key = place
        record = self._store.get(storage, key)
        resource = self._registry.stored_as(storage)
        if record is None or resource is None:
            return
        if record.owners and not record.deleting:
            self._collect(resource, record)
            return
        if not record.deleting:
            return
        if storage == "namespaces":
            self._end_namespace(resource, record)
        elif storage == crds.STORAGE:
            self._end_definition(resource, record)
        self._end_owner(storage, key)

    def _end_namespace(self, resource: Resource, record: Record) -> None:
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

    def _end_definition(self, resource: Resource, record: Record) -> None:
        value = record.as_object()
        storage = record.key[1]
        if self._delete_all(storage, list(self._store.collection(storage).records.values())):
            return
        self._drop_finalizer(resource, record.key, value, crds.CLEANUP)

    def _delete_all(self, storage: str, records: list[Record]) -> int:
        """Delete all, and return how many still wait for finalizers."""
        resource = self._registry.stored_as(storage)
        for record in records:
            if not record.deleting:
                if resource is None:
                    self._store.remove(storage, record.key, record.as_object())
                else:
                    self._writer.delete(resource, record.key, Deletion())
        return sum(self._store.get(storage, record.key) is not None for record in records)

    def _collect(self, resource: Resource, record: Record) -> None:
        """Delete an object whose owners are all gone; forget owners that are gone."""
        present = [owner for owner in record.owners if self._is_there(owner.uid, record)]
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

    def _is_there(self, uid: str, dependent: Record) -> bool:
        place = self._places.get(uid)
        if place is None:
            return False
        storage, key = place
        if key[0] not in {"", dependent.key[0]}:
            return False
        owner = self._store.get(storage, key)
        return owner is not None and owner.uid == uid

    def _end_owner(self, storage: str, key: Key) -> None:
        """Finish a deletion that first orphans or first deletes its dependents."""
        record = self._store.get(storage, key)
        resource = self._registry.stored_as(storage)
        if record is None or resource is None or not record.deleting:
            return
        value = record.as_object()
        finalizers = value["metadata"].get("finalizers", [])
        dependents = [
            (place, found)
            for place in sorted(self._dependents.get(record.uid, ()))
            if (found := self._store.get(*place)) is not None
        ]
        if "orphan" in finalizers:
            for place, dependent in dependents:
                self._let_go(place, dependent, record.uid)
            self._drop_finalizer(resource, key, value, "orphan")
        elif "foregroundDeletion" in finalizers:
            blocking = [(place, found) for place, found in dependents if _blocks(found, record.uid)]
            for place, dependent in dependents:
                owned_by = self._registry.stored_as(place[0])
                if owned_by is not None and not dependent.deleting and len(dependent.owners) == 1:
                    self._writer.delete(owned_by, dependent.key, Deletion(policy="Foreground"))
            if not blocking:
                self._drop_finalizer(resource, key, value, "foregroundDeletion")

    def _let_go(self, place: Place, dependent: Record, uid: str) -> None:
        value = dependent.as_object()
        left = [owner for owner in value["metadata"].get("ownerReferences", []) if owner.get("uid") != uid]
        if left:
            value["metadata"]["ownerReferences"] = left
        else:
            value["metadata"].pop("ownerReferences", None)
        self._store.put(place[0], dependent.key, value)

    def _drop_finalizer(self, resource: Resource, key: Key, value: Object, finalizer: str) -> None:
        left = [name for name in value["metadata"].get("finalizers", []) if name != finalizer]
        if left:
            value["metadata"]["finalizers"] = left
            self._store.put(resource.storage, key, value)
            return
        value["metadata"].pop("finalizers", None)
        self._store.remove(resource.storage, key, value)


def _blocks(dependent: Record, uid: str) -> bool:
    return any(owner.uid == uid and owner.block_owner_deletion for owner in dependent.owners)
