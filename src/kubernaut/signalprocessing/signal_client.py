"""The signals of one namespace at the API server."""

from typing import Any

from kubernaut.api.signals import SignalProcessing
from kubernaut.kube.client import Client
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key
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
