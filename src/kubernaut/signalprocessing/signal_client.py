"""The signals of one namespace at the API server."""

import contextlib
from typing import Any

from kubernaut.api.signals import FINALIZER, SignalProcessing
from kubernaut.kube.client import Client
from kubernaut.kube.errors import NotFound
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key, key_of
from kubernaut.signalprocessing.kinds import SIGNAL


class CachedSignalClient:
    """Reads signals from the informer's cache, and keeps that cache ahead of the watch after each request."""

    def __init__(self, client: Client, cache: Informer[SignalProcessing]) -> None:
        self._client = client
        self._cache = cache

    def get_cached(self, key: Key) -> SignalProcessing | None:
        return self._cache.get(key)

    async def get(self, key: Key) -> SignalProcessing:
        signal = await self._client.get(SIGNAL, key)
        self._cache.observe(signal)
        return signal

    async def patch_status(self, signal: SignalProcessing, patch: dict[str, Any]) -> SignalProcessing:
        stored = await self._client.patch_status(SIGNAL, signal, patch)
        # The next reconcile must not start from the state before this write.
        self._cache.observe(stored)
        return stored

    async def add_finalizer(self, signal: SignalProcessing) -> None:
        self._cache.observe(await self._patch_finalizers(signal, [*signal.metadata.finalizers, FINALIZER]))

    async def remove_finalizer(self, signal: SignalProcessing) -> None:
        left = [name for name in signal.metadata.finalizers if name != FINALIZER]
        with contextlib.suppress(NotFound):
            await self._patch_finalizers(signal, left)

    async def _patch_finalizers(self, signal: SignalProcessing, finalizers: list[str]) -> SignalProcessing:
        metadata = {"resourceVersion": signal.metadata.resource_version, "finalizers": finalizers or None}
        return await self._client.patch(SIGNAL, key_of(signal), {"metadata": metadata})
