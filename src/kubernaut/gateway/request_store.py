"""Reads and writes of `RemediationRequest` objects: a cache that may lag behind, and the API server."""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kubernaut.api.remediation import RemediationRequest
from kubernaut.api.vocabulary import Label
from kubernaut.gateway import requests
from kubernaut.gateway.config import IntakeConfig
from kubernaut.gateway.mapped_alert import MappedAlert
from kubernaut.gateway.requests import REQUESTS, SIGNALS
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.errors import AlreadyExists, NotFound
from kubernaut.kube.informer import Informer, InformerConfig
from kubernaut.kube.objects import Key, key_of

BY_FINGERPRINT = "fingerprint"
BY_FIRING = "firing"

MAX_ATTEMPTS = 10
"""Attempts of a write that conflicts with another gateway's, or with whoever finishes or deletes the request."""
RETRY_DELAY = 0.01  # seconds, times the number of the attempt


def new_cache(client: Client, namespace: str) -> Informer[RemediationRequest]:
    """The cache of requests, with the indexes that `RequestStore` needs."""
    return Informer(
        client,
        REQUESTS,
        InformerConfig(options=ListOptions(namespace=namespace)),
        indexes={
            BY_FINGERPRINT: lambda request: [request.spec.signal_fingerprint or ""],
            BY_FIRING: lambda request: request.status.deduplication.firing if request.status.deduplication else [],
        },
    )


class RequestStore:
    """The requests of one namespace. Every method but the first four raises a `KubeError`."""

    def __init__(self, client: Client, cache: Informer[RemediationRequest], config: IntakeConfig) -> None:
        self._client = client
        self._cache = cache
        self._config = config
        self._with_signal: OrderedDict[str, None] = OrderedDict()
        """Uids of requests whose signal is known to exist."""

    def cached(self) -> list[RemediationRequest]:
        return self._cache.list()

    def cached_by_fingerprint(self, fingerprint: str) -> list[RemediationRequest]:
        return self._cache.by_index(BY_FINGERPRINT, fingerprint)

    def cached_by_alert(self, alert_id: str) -> list[RemediationRequest]:
        """The requests on which that alert fires."""
        return self._cache.by_index(BY_FIRING, alert_id)

    def newest_open(self, candidates: Sequence[RemediationRequest]) -> RemediationRequest | None:
        now, timeout = datetime.now(UTC), self._config.resolve_timeout
        return requests.newest(request for request in candidates if requests.is_open(request, now, timeout))

    async def get_or_create_open(self, mapped: MappedAlert, previous: RemediationRequest | None) -> RemediationRequest:
        """The open request about a workload, created when there is none.

        Names follow from each other, so a cache that lags behind only makes the walk longer: a name that exists leads
        to its request, and if that is closed, to the name after it. Listing all requests about a workload instead would
        make the server look at every request there is, for each new one.
        """
        while True:
            name = requests.name_of(mapped.signal.fingerprint, previous, datetime.now(UTC))
            key = Key(self._config.namespace, name)
            tombstone = self._cache.tombstone(key)
            if tombstone is not None:
                previous = tombstone
                continue
            try:
                request = await self._client.create(
                    REQUESTS, requests.new_request(name, key.namespace, mapped.signal, mapped.owner)
                )
            except AlreadyExists:
                request = await self._client.get(REQUESTS, key)
            self._cache.observe(request)
            if self.newest_open([request]) is not None:
                return request
            previous = request

    async def get_open(self, request: RemediationRequest) -> RemediationRequest | None:
        """The request as the API server has it now, if it is still open."""
        try:
            request = await self._client.get(REQUESTS, key_of(request))
        except NotFound:
            return None
        self._cache.observe(request)
        return self.newest_open([request])

    async def list_by_fingerprint(self, fingerprint: str) -> list[RemediationRequest]:
        """The requests about a workload as the API server has them now."""
        options = ListOptions(namespace=self._config.namespace, label_selector=requests.selector(fingerprint))
        listed = await self._client.list(REQUESTS, options)
        for request in listed.items:
            self._cache.observe(request)
        return [request for request in listed.items if request.spec.signal_fingerprint == fingerprint]

    async def ensure_signal(self, request: RemediationRequest, mapped: MappedAlert) -> None:
        """Create the signal of a request unless it exists, or an orchestrator creates it."""
        if not self._config.create_parents or request.metadata.uid in self._with_signal:
            return
        with contextlib.suppress(AlreadyExists):
            await self._client.create(SIGNALS, requests.new_signal(request, mapped.signal, mapped.notes))
        self._with_signal[request.metadata.uid] = None
        while len(self._with_signal) > self._config.max_remembered:
            self._with_signal.popitem(last=False)

    async def patch_status(self, request: RemediationRequest, status: dict[str, Any]) -> RemediationRequest:
        request = await self._client.patch_status(REQUESTS, request, status)
        self._cache.observe(request)
        return request

    async def annotate_resolved(self, request: RemediationRequest, at: datetime | None) -> RemediationRequest:
        """Mark the request and its signal as resolved; as firing again where `at` is None."""
        value = at.isoformat().replace("+00:00", "Z") if at else None
        annotations = {"annotations": {Label.RESOLVED_AT.value: value}}
        metadata = request.metadata
        with contextlib.suppress(NotFound):
            signal = Key(metadata.namespace, requests.signal_name_of(request))
            await self._client.patch(SIGNALS, signal, {"metadata": annotations})
        body = {"metadata": {**annotations, "resourceVersion": metadata.resource_version}}
        request = await self._client.patch(REQUESTS, key_of(request), body)
        self._cache.observe(request)
        return request
