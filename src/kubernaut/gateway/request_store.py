"""Reads and writes of `RemediationRequest` objects: a cache that may lag behind, and the API server."""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kubernaut.api.remediation import Deduplication, RemediationRequest
from kubernaut.api.summaries import occurrence_count
from kubernaut.api.vocabulary import Label
from kubernaut.gateway import occurrences, requests
from kubernaut.gateway.config import IntakeConfig
from kubernaut.gateway.mapped_alert import MappedAlert
from kubernaut.gateway.requests import REQUESTS, SIGNALS
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.errors import AlreadyExists, NotFound
from kubernaut.kube.informer import Informer, InformerConfig
from kubernaut.kube.objects import Key, key_of

BY_FOLD_KEY = "fold key"
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
            BY_FOLD_KEY: lambda request: [requests.fold_key_of(request)],
            BY_FIRING: lambda request: occurrences.firing_of(request.status.deduplication),
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

    def cached_by_fold_key(self, fold_key: str) -> list[RemediationRequest]:
        return self._cache.by_index(BY_FOLD_KEY, fold_key)

    def cached_by_name(self, name: str) -> RemediationRequest | None:
        return self._cache.get(Key(self._config.namespace, name))

    def cached_by_alert(self, alert_id: str) -> list[RemediationRequest]:
        """The requests on which that alert fires."""
        return self._cache.by_index(BY_FIRING, alert_id)

    def newest_open(self, candidates: Sequence[RemediationRequest]) -> RemediationRequest | None:
        now, timeout = datetime.now(UTC), self._config.resolve_timeout
        open_requests = (request for request in candidates if requests.is_open(request, now, timeout))
        return requests.newest(requests.not_superseded(open_requests))

    async def get_or_create_open(
        self, mapped: MappedAlert, previous: RemediationRequest | None, supersedes: str = ""
    ) -> RemediationRequest:
        """The open request of an alert's fold key, created when there is none after `previous`.

        Names follow from each other, so a cache that lags behind only makes the walk longer: a name that exists leads
        to its request, and if that is closed, to the name after it. Listing all requests of the key instead would
        make the server look at every request there is, for each new one.
        """
        while True:
            name = requests.name_of(mapped, previous, datetime.now(UTC))
            key = Key(self._config.namespace, name)
            tombstone = self._cache.tombstone(key)
            if tombstone is not None:
                previous = tombstone
                continue
            try:
                request = await self._client.create(
                    REQUESTS, requests.new_request(name, key.namespace, mapped, supersedes)
                )
            except AlreadyExists:
                request = await self._client.get(REQUESTS, key)
            self._cache.observe(request)
            if self.newest_open([request]) is not None:
                return request
            previous = request

    async def get_open(self, request: RemediationRequest) -> RemediationRequest | None:
        """The request as the API server has it now, if it is still open."""
        current = await self.get(request)
        return self.newest_open([current]) if current is not None else None

    async def get(self, request: RemediationRequest) -> RemediationRequest | None:
        """The request as the API server has it now."""
        try:
            request = await self._client.get(REQUESTS, key_of(request))
        except NotFound:
            return None
        self._cache.observe(request)
        return request

    async def list_by_fold_key(self, fold_key: str) -> list[RemediationRequest]:
        """The requests of a fold key as the API server has them now."""
        options = ListOptions(namespace=self._config.namespace, label_selector=requests.selector(fold_key))
        listed = await self._client.list(REQUESTS, options)
        for request in listed.items:
            self._cache.observe(request)
        return listed.items

    async def ensure_signal(
        self, request: RemediationRequest, mapped: MappedAlert, deduplication: Deduplication
    ) -> None:
        """Let the signal of a request exist, unless an orchestrator creates it, and show what is counted on it."""
        if not await self._create_signal(request, mapped, deduplication):
            before = request.status.deduplication or Deduplication()
            if (text := occurrence_count(deduplication)) != occurrence_count(before):
                await self._annotate_signal(request, Label.OCCURRENCES, text)

    async def _create_signal(
        self, request: RemediationRequest, mapped: MappedAlert, deduplication: Deduplication
    ) -> bool:
        """Create the signal; whether this call did."""
        if not self._config.create_parents or request.metadata.uid in self._with_signal:
            return False
        has_finalizer = self._config.audit_finalizer
        signal = requests.new_signal(request, mapped, deduplication, has_finalizer=has_finalizer)
        try:
            await self._client.create(SIGNALS, signal)
            is_created = True
        except AlreadyExists:
            is_created = False
        self._with_signal[request.metadata.uid] = None
        while len(self._with_signal) > self._config.max_remembered:
            self._with_signal.popitem(last=False)
        return is_created

    async def patch_status(self, request: RemediationRequest, status: dict[str, Any]) -> RemediationRequest:
        request = await self._client.patch_status(REQUESTS, request, status)
        self._cache.observe(request)
        return request

    async def annotate_resolved(self, request: RemediationRequest, at: datetime | None) -> RemediationRequest:
        """Mark the request and its signal as resolved; as firing again where `at` is None."""
        return await self._annotate(request, Label.RESOLVED_AT, at.isoformat().replace("+00:00", "Z") if at else None)

    async def annotate_superseded(self, request: RemediationRequest, by: RemediationRequest) -> RemediationRequest:
        """Mark the request and its signal as superseded: alerts are counted on the other one."""
        return await self._annotate(request, Label.SUPERSEDED_BY, by.metadata.name)

    async def _annotate(self, request: RemediationRequest, label: Label, text: str | None) -> RemediationRequest:
        await self._annotate_signal(request, label, text)
        body = {"metadata": {"annotations": {label.value: text}, "resourceVersion": request.metadata.resource_version}}
        request = await self._client.patch(REQUESTS, key_of(request), body)
        self._cache.observe(request)
        return request

    async def _annotate_signal(self, request: RemediationRequest, label: Label, text: str | None) -> None:
        with contextlib.suppress(NotFound):
            signal = Key(request.metadata.namespace, requests.signal_name_of(request))
            await self._client.patch(SIGNALS, signal, {"metadata": {"annotations": {label.value: text}}})
