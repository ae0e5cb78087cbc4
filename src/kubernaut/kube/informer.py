"""A cache of one kind in memory, kept up to date by list and watch.

Readers get the newest state that was observed, never a guess: before `synced` is set, a missing object means nothing.
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

from kubernaut.kube.client import EVERYTHING, Client, ListOptions
from kubernaut.kube.errors import Forbidden, KubeError, NotFound
from kubernaut.kube.objects import Key, Kind, KubeObject, is_older, key_of
from kubernaut.kube.watch import Delta, DeltaType, WatchConfig, list_and_watch, watch_name
from kubernaut.ops.tasks import background

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object
log = structlog.get_logger("kube")


@dataclass(frozen=True, kw_only=True)
class InformerConfig:
    options: ListOptions = ListOptions()  # noqa: RUF009 - it is frozen
    watch: WatchConfig = WatchConfig()  # noqa: RUF009
    tombstone_ttl: float = 300.0  # seconds
    """How long the last state of a deleted object is kept."""
    max_tombstones: int = 2_000
    """Deleted objects kept; the oldest go first."""


class Informer(Generic[O]):
    """The objects of one kind by key, and by the indexes it was given.

    `transform` is applied before an object is stored, to drop what nobody reads. Neither it, nor an index, nor an event
    handler may change an object: all readers share it.
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
        self._store: dict[Key, O] = {}
        self._index_functions = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[Key, O]]] = {name: {} for name in self._index_functions}
        self._handlers: list[Callable[[O | None, O | None], None]] = []
        self._tombstones: dict[Key, tuple[float, O]] = {}

    @property
    def name(self) -> str:
        """Names this cache in logs and readiness reports."""
        return watch_name(self.kind, self.config.options)

    @property
    def staleness(self) -> float:
        """Seconds since the server sent anything for this cache, a bookmark each minute at least; infinite at first."""
        return self._client.reachability.silence(self.name)

    def __len__(self) -> int:
        return len(self._store)

    async def run(self) -> None:
        """Keep the cache up to date, for ever. Starts from an empty store; run it once."""
        config = self.config
        source = list_and_watch(self._client, self.kind, config.options, config.watch, self._transform)
        async with aclosing(source) as deltas:
            async for delta in deltas:
                self._process(delta)

    def get(self, key: Key) -> O | None:
        return self._store.get(key)

    def list(self, namespace: str = "") -> list[O]:
        if not namespace:
            return [*self._store.values()]
        return [obj for key, obj in self._store.items() if key.namespace == namespace]

    def by_index(self, index: str, value: str) -> builtins.list[O]:
        """The objects for which the index function gave `value`; raises KeyError for an unknown index."""
        return [*self._indexes[index].get(value, {}).values()]

    def tombstone(self, key: Key) -> O | None:
        """The last state of an object that was deleted within `tombstone_ttl` and does not exist again."""
        deleted_at, obj = self._tombstones.get(key, (0.0, None))
        return obj if obj is not None and time.monotonic() - deleted_at < self.config.tombstone_ttl else None

    def add_event_handler(self, handler: Callable[[O | None, O | None], None]) -> None:
        """Call `handler(old, new)` for each stored object (old is None) and for every later change.

        `new` is None for a deletion. It is called in the middle of an update and must not wait; what it raises is
        logged.
        """
        self._handlers.append(handler)
        for obj in [*self._store.values()]:
            self._call(handler, None, obj)

    def observe(self, obj: O) -> None:
        """Store a state that the server returned for a write, before its watch event arrives."""
        tombstone = self._tombstones.get(key_of(obj))
        if tombstone is not None and tombstone[1].metadata.uid == obj.metadata.uid:
            return
        self._put(self._transform(obj) if self._transform else obj)

    def _process(self, delta: Delta[O]) -> None:
        if delta.type is DeltaType.SYNCED:
            self.synced.set()
            log.info("cache synced", kind=self.name, objects=len(self))
        elif delta.object is None:
            return
        elif delta.type is DeltaType.DELETED:
            self._delete(delta.object)
        else:
            self._put(delta.object)

    def _put(self, new: O) -> None:
        key = key_of(new)
        old = self._store.get(key)
        if old is not None:
            if old.metadata.resource_version == new.metadata.resource_version:
                return
            if is_older(new.metadata.resource_version, than=old.metadata.resource_version):
                return
            self._unindex(key, old)
        self._tombstones.pop(key, None)
        self._store[key] = new
        for name, index_function in self._index_functions.items():
            for value in index_function(new):
                self._indexes[name].setdefault(value, {})[key] = new
        self._distribute(old, new)

    def _delete(self, last: O) -> None:
        key = key_of(last)
        old = self._store.get(key)
        if old is None or old.metadata.uid != last.metadata.uid:
            return
        del self._store[key]
        self._unindex(key, old)
        self._add_tombstone(key, last)
        self._distribute(old, None)

    def _unindex(self, key: Key, old: O) -> None:
        for name, index_function in self._index_functions.items():
            index = self._indexes[name]
            for value in index_function(old):
                holders = index.get(value)
                if holders is not None:
                    holders.pop(key, None)
                    if not holders:
                        del index[value]

    def _add_tombstone(self, key: Key, last: O) -> None:
        now = time.monotonic()
        self._tombstones[key] = (now, last)
        for other, (deleted_at, _) in [*self._tombstones.items()]:
            if now - deleted_at < self.config.tombstone_ttl and len(self._tombstones) <= self.config.max_tombstones:
                break
            del self._tombstones[other]

    def _distribute(self, old: O | None, new: O | None) -> None:
        for handler in self._handlers:
            self._call(handler, old, new)

    def _call(self, handler: Callable[[O | None, O | None], None], old: O | None, new: O | None) -> None:
        try:
            handler(old, new)
        except Exception:  # one handler's mistake must not stop the cache for all others
            log.exception("event handler failed", kind=self.name)


async def may_list(client: Client, kind: Kind[Any], options: ListOptions = EVERYTHING) -> bool:
    """Whether an informer of that kind could ever sync: the cluster has the kind, and we may list it."""
    try:
        await client.get_raw(kind.collection(options.namespace), {"limit": "1"})
    except (Forbidden, NotFound):
        return False
    except KubeError:
        return True  # the API server does not answer; the informer waits for it
    return True


@asynccontextmanager
async def open_informers(*informers: Informer[Any]) -> AsyncIterator[None]:
    """Keep the informers running inside the block; does not wait until they are synced."""
    async with background(_run(informers), name="informers"):
        yield


async def _run(informers: Iterable[Informer[Any]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for informer in informers:
            tasks.create_task(informer.run(), name=f"informer {informer.name}")
