"""Takes the Events of the cluster in, each state of one once, also across restarts.

The checkpoint is the newest resourceVersion whose Events are all stored; it is kept in a ConfigMap, so that another pod
goes on where this one ended. Without one, only what happens from now on is taken in.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import structlog

from kubernaut.gateway.config import KubernetesEventsConfig
from kubernaut.gateway.kubernetes_events import CoreEvent, rejection_of
from kubernaut.gateway.responses import Reason, Result, ResultStatus
from kubernaut.kube.client import Client
from kubernaut.kube.errors import AlreadyExists, KubeError, NotFound
from kubernaut.kube.objects import Key, Kind, Unstructured, is_older
from kubernaut.kube.watch import DeltaType, list_and_watch
from kubernaut.ops.backoff import Backoff

log = structlog.get_logger("gateway")

EVENTS: Kind[CoreEvent] = Kind(version="v1", kind="Event", plural="events", type=CoreEvent)
CONFIG_MAPS: Kind[Unstructured] = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=dict)
CHECKPOINT = "kubernaut-gateway-events"
"""Name of the ConfigMap in the namespace of the requests."""

WRITE_INTERVAL = 30.0  # seconds
"""Between checkpoints while no Event is an alert; after each alert, one is written."""

_VERSION = "resourceVersion"

T = TypeVar("T")
Process = Callable[[CoreEvent], Awaitable[Result]]


class EventWatch:
    """Watches Events and processes those that are alerts."""

    def __init__(self, client: Client, namespace: str, config: KubernetesEventsConfig, process: Process) -> None:
        self._client = client
        self._key = Key(namespace, CHECKPOINT)
        self._config = config
        self._process = process
        self._backoff = Backoff(initial_delay=0.2, max_delay=30.0)
        self._checkpoint = ""
        """The one that this process began with."""
        self._taken: dict[str, str] = {}
        """By uid of an Event, its resourceVersion that was processed."""
        self._written = ""
        self._written_at = 0.0

    async def run(self) -> None:
        """Take Events in, for ever."""
        self._checkpoint = await self._retry(self._read_checkpoint)
        if not self._checkpoint:
            self._checkpoint = await self._retry(self._newest_version)
            await self._retry(lambda: self._write_checkpoint(self._checkpoint))
        self._written = self._checkpoint
        initial: list[CoreEvent] | None = []
        async with aclosing(list_and_watch(self._client, EVENTS)) as deltas:
            async for delta in deltas:
                if delta.type is DeltaType.SYNCED and initial is not None:
                    # A list is in no order of time, and the checkpoint must not pass an Event that is not stored.
                    ordered = sorted(initial, key=lambda event: _number(event.metadata.resource_version))
                    initial = None
                    for event in ordered:
                        await self._take(event)
                elif delta.object is not None and delta.type is DeltaType.DELETED:
                    self._taken.pop(delta.object.metadata.uid, None)
                elif delta.object is not None and initial is not None:
                    initial.append(delta.object)
                elif delta.object is not None:
                    await self._take(delta.object)

    async def _take(self, event: CoreEvent) -> None:
        """Process a state of an Event that is newer than the checkpoint and was not processed yet."""
        uid, version = event.metadata.uid, event.metadata.resource_version
        if not is_older(self._checkpoint, than=version) or not is_older(self._taken.get(uid, "0"), than=version):
            return
        is_alert = not self._rejects(event)
        if is_alert:
            await self._retry(lambda: self._store(event))
        self._taken[uid] = version
        if is_older(self._written, than=version) and (
            is_alert or time.monotonic() - self._written_at >= WRITE_INTERVAL
        ):
            await self._retry(lambda: self._write_checkpoint(version))

    def _rejects(self, event: CoreEvent) -> bool:
        namespaces = self._config.namespaces
        if namespaces and event.involved_object.namespace not in namespaces:
            return True
        return bool(rejection_of(event, self._config.types)) or not event.involved_object.name

    async def _store(self, event: CoreEvent) -> None:
        result = await self._process(event)
        # One that meets a defect of ours would meet it again, and keep all that follow waiting.
        if result.status is ResultStatus.FAILED and result.reason is not Reason.DEFECT:
            raise KubeError(result.message)

    async def _newest_version(self) -> str:
        return (await self._client.list(EVENTS)).resource_version

    async def _read_checkpoint(self) -> str:
        try:
            config_map = await self._client.get(CONFIG_MAPS, self._key)
        except NotFound:
            return ""
        return str((config_map.get("data") or {}).get(_VERSION, ""))

    async def _write_checkpoint(self, version: str) -> None:
        data = {"data": {_VERSION: version}}
        try:
            await self._client.patch(CONFIG_MAPS, self._key, data)
        except NotFound:
            metadata = {"name": self._key.name, "namespace": self._key.namespace}
            try:
                await self._client.create(CONFIG_MAPS, {"metadata": metadata, **data})
            except AlreadyExists:
                await self._client.patch(CONFIG_MAPS, self._key, data)
        self._written, self._written_at = version, time.monotonic()

    async def _retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Until it succeeds: an Event that is passed over would be lost."""
        number = 0
        while True:
            try:
                return await attempt()
            except KubeError as error:
                number += 1
                log.warning("Kubernetes Events wait", error=str(error))
                await asyncio.sleep(self._backoff.delay(number))


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
