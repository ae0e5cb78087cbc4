"""A copy of one kind in memory, kept up to date by `changes`.

Readers get the newest state that was heard of, never a guess: before `synced` is set, a missing object means nothing.
An object never goes back to an older resourceVersion, so what a controller has just written (`observe`) is not undone
by an event from before its write.
"""

import asyncio
import builtins
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from kubernaut.kube.client import Client, Selection
from kubernaut.kube.objects import Key, Kind, KubeObject, is_older, key_of
from kubernaut.kube.watch import Change, ChangeType, WatchConfig, changes

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object
log = structlog.get_logger("kube")


@dataclass(frozen=True, kw_only=True)
class InformerConfig:
    selection: Selection = Selection()  # noqa: RUF009 - it is frozen
    watch: WatchConfig = WatchConfig()  # noqa: RUF009
    deleted_for: float = 300.0  # seconds
    """How long the last state of a deleted object can still be asked for."""
    deleted_most: int = 2_000
    """How many of those are held; the oldest go first."""


class Informer(Generic[O]):
    """The objects of one kind by key, and by the indexes it was given.

    `transform` is applied before an object is kept, to drop what nobody reads. Neither it, nor an index, nor a listener
    may change an object: all readers share it.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind[O],
        config: InformerConfig = InformerConfig(),
        *,
        indexes: Mapping[str, Callable[[O], Iterable[str]]] | None = None,
        transform: Callable[[O], O] | None = None,
    ) -> None:
        self.kind = kind
        self.config = config
        self.synced = asyncio.Event()
        """Set once everything that existed at the start is in the store."""
        self._client = client
        self._transform = transform
        self._objects: dict[Key, O] = {}
        self._index_of = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[Key, O]]] = {name: {} for name in self._index_of}
        self._listeners: list[Callable[[O | None, O | None], None]] = []
        self._deleted: dict[Key, tuple[float, O]] = {}

    @property
    def name(self) -> str:
        """How this cache is called in the log when it is late."""
        namespace = self.config.selection.namespace
        return f"{self.kind} in {namespace}" if namespace else str(self.kind)

    def __len__(self) -> int:
        return len(self._objects)

    async def run(self) -> None:
        """Follow the kind for ever. Starts from nothing known; run it once."""
        config = self.config
        source = changes(self._client, self.kind, config.selection, config.watch, self._transform)
        async with aclosing(source) as following:
            async for change in following:
                self._take(change)

    def get(self, key: Key) -> O | None:
        return self._objects.get(key)

    def list(self, namespace: str = "") -> list[O]:
        if not namespace:
            return [*self._objects.values()]
        return [obj for key, obj in self._objects.items() if key.namespace == namespace]

    def by_index(self, index: str, value: str) -> builtins.list[O]:
        """The objects for which the index's function gave `value`; raises KeyError for an index that is none."""
        return [*self._indexes[index].get(value, {}).values()]

    def deleted(self, key: Key) -> O | None:
        """The last state of an object that was deleted a short while ago and does not exist again."""
        when, obj = self._deleted.get(key, (0.0, None))
        return obj if obj is not None and time.monotonic() - when < self.config.deleted_for else None

    def listen(self, listener: Callable[[O | None, O | None], None]) -> None:
        """Call `listener(old, new)` for each object there is (old is None) and for every later change.

        `new` is None for a deletion. It is called in the middle of an update and must not wait; what it raises is
        logged.
        """
        self._listeners.append(listener)
        for obj in [*self._objects.values()]:
            self._tell(listener, None, obj)

    def observe(self, obj: O) -> None:
        """Take over a state that the server gave as the answer to a write, before its event comes in."""
        gone = self._deleted.get(key_of(obj))
        if gone is not None and gone[1].metadata.uid == obj.metadata.uid:
            return
        self._put(self._transform(obj) if self._transform else obj)

    def _take(self, change: Change[O]) -> None:
        if change.type is ChangeType.SYNCED:
            self.synced.set()
            log.info("cache is filled", kind=self.name, objects=len(self))
        elif change.object is None:
            return
        elif change.type is ChangeType.DELETED:
            self._drop(change.object)
        else:
            self._put(change.object)

    def _put(self, new: O) -> None:
        key = key_of(new)
        old = self._objects.get(key)
        if old is not None:
            if old.metadata.resource_version == new.metadata.resource_version:
                return
            if is_older(new.metadata.resource_version, than=old.metadata.resource_version):
                return
            self._unindex(key, old)
        self._deleted.pop(key, None)
        self._objects[key] = new
        for name, index_of in self._index_of.items():
            for value in index_of(new):
                self._indexes[name].setdefault(value, {})[key] = new
        self._tell_all(old, new)

    def _drop(self, last: O) -> None:
        key = key_of(last)
        old = self._objects.get(key)
        if old is None or old.metadata.uid != last.metadata.uid:
            return
        del self._objects[key]
        self._unindex(key, old)
        self._bury(key, last)
        self._tell_all(old, None)

    def _unindex(self, key: Key, old: O) -> None:
        for name, index_of in self._index_of.items():
            values = self._indexes[name]
            for value in index_of(old):
                holders = values.get(value)
                if holders is not None:
                    holders.pop(key, None)
                    if not holders:
                        del values[value]

    def _bury(self, key: Key, last: O) -> None:
        now = time.monotonic()
        self._deleted[key] = (now, last)
        for other, (when, _) in [*self._deleted.items()]:
            if now - when < self.config.deleted_for and len(self._deleted) <= self.config.deleted_most:
                break
            del self._deleted[other]

    def _tell_all(self, old: O | None, new: O | None) -> None:
        for listener in self._listeners:
            self._tell(listener, old, new)

    def _tell(self, listener: Callable[[O | None, O | None], None], old: O | None, new: O | None) -> None:
        try:
            listener(old, new)
        except Exception:  # one listener's mistake must not stop the cache for all others
            log.exception("a listener failed", kind=self.name)


@asynccontextmanager
async def open_informers(*informers: Informer[Any]) -> AsyncIterator[None]:
    """Keep the informers running inside the block; does not wait until they are synced."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.run(), name=f"informer {each.name}") for each in informers]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
