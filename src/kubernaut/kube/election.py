"""Leader election among replicas by a Lease, as client-go does it.

The holder renews the lease at an interval. Whoever else wants it takes it once nobody has renewed it for its duration,
measured by the observer's own monotonic clock since it last saw the lease change, so that wall clocks need not agree.
A holder that cannot renew gives up its work before the others may take over. On a clean end it empties the lease, and
the next replica leads at once.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from kubernaut.api.meta import ObjectMeta, Time, Wire
from kubernaut.kube.client import Client
from kubernaut.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.ops.tasks import shielded

log = structlog.get_logger("kube")

RELEASE_TIMEOUT = 2.0  # seconds
RELEASED_DURATION = 1
"""Seconds that a lease which was given up is valid; client-go writes the same."""


class LeaseSpec(Wire, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: Time | None = None
    renew_time: Time | None = None
    lease_transitions: int | None = None


class Lease(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()


LEASE = Kind(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", type=Lease)


@dataclass(frozen=True, kw_only=True)
class ElectionConfig:
    key: Key
    """Namespace and name of the Lease."""
    identity: str
    """Who we are; the same again after a restart in place takes the lease back without waiting."""
    lease_duration: float = 15.0  # seconds
    """Others wait for so long after the last renewal that they have seen."""
    renew_deadline: float = 10.0  # seconds
    """The holder that has not renewed for so long stops; shorter than `lease_duration`."""
    retry_interval: float = 2.0  # seconds
    """Between two attempts to take or to renew."""


def default_identity() -> str:
    """The host's name, which in a cluster is the pod's, and the process: a container that restarts has both again."""
    return f"{socket.gethostname()}_{os.getpid()}"


class _LeaseLost(Exception):
    """The lease could not be renewed in time, or somebody else has it."""


class Election:
    """One candidate for one lease."""

    def __init__(self, client: Client, config: ElectionConfig, metrics: KubeMetrics | None = None) -> None:
        self.is_leader = False
        self.leader = ""
        """The identity in the lease as it was last seen; empty when nobody holds it."""
        self._client = client
        self._config = config
        self._gauge = (metrics or KubeMetrics()).leader.labels(config.key.name)
        self._gauge.set(0)
        self._lease: Lease | None = None
        self._seen_at = 0.0
        """When the lease was first seen as it is, by the monotonic clock."""
        self._is_failing = False
        self._log = log.bind(lease=str(config.key), identity=config.identity)

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease and run `lead` while it is held, again and again until `lead` ends by itself.

        `lead` is cancelled when the lease is lost. The lease is given up when this ends, however it ends.
        """
        while True:
            renewed_at = await self._acquire()
            self._set_leader(True)
            try:
                async with asyncio.TaskGroup() as tasks:
                    renewing = tasks.create_task(self._renew(renewed_at), name="lease renewal")
                    await lead()
                    renewing.cancel()
                return
            except* _LeaseLost as group:
                self._log.error("lease lost, standing by", error=str(group.exceptions[0]), leader=self.leader)
            finally:
                self._set_leader(False)
                await shielded(self._release())

    async def _acquire(self) -> float:
        """Returns when the lease is ours, with the monotonic time from which it counts."""
        while True:
            began = time.monotonic()
            if await self._try("acquire", self.try_acquire):
                return began
            await asyncio.sleep(self._config.retry_interval)

    async def _renew(self, renewed_at: float) -> None:
        deadline = self._config.renew_deadline
        while True:
            await asyncio.sleep(self._config.retry_interval)
            began = time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, renewed_at + deadline - began)):
                    if await self._try("renew", self.try_acquire):
                        renewed_at = began
            if self.leader not in ("", self._config.identity):
                raise _LeaseLost(f"{self.leader} holds the lease")
            if time.monotonic() - renewed_at >= deadline:
                raise _LeaseLost(f"the lease could not be renewed for {deadline:g} s")

    async def _try(self, operation: str, attempt: Callable[[], Awaitable[bool]]) -> bool:
        """One attempt; whatever the API server says is no more than a failed one, logged once."""
        try:
            succeeded = await attempt()
        except (Conflict, AlreadyExists):  # another candidate was faster
            return False
        except KubeError as error:
            if not self._is_failing:
                self._log.warning(f"failed to {operation} lease, retrying", error=str(error))
            self._is_failing = True
            return False
        self._is_failing = False
        return succeeded

    async def try_acquire(self) -> bool:
        """Take the lease if it is free, or renew ours; False when somebody else has it. Raises KubeError."""
        try:
            self._observe(await self._client.get(LEASE, self._config.key))
        except NotFound:
            namespace, name = self._config.key
            manifest = {"metadata": {"namespace": namespace, "name": name}, "spec": self._spec(acquired=True, count=0)}
            self._observe(await self._client.create(LEASE, manifest))
            return True
        if self._lease is None or not self._is_free(self._lease.spec):
            return False
        spec = self._lease.spec
        is_ours = spec.holder_identity == self._config.identity
        count = (spec.lease_transitions or 0) + (not is_ours)
        await self._write(self._lease, self._spec(acquired=not is_ours, count=count))
        return True

    def _is_free(self, spec: LeaseSpec) -> bool:
        if not spec.holder_identity or spec.holder_identity == self._config.identity:
            return True
        return time.monotonic() - self._seen_at >= (spec.lease_duration_seconds or self._config.lease_duration)

    def _spec(self, *, acquired: bool, count: int) -> Unstructured:
        # MicroTime has six digits always.
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec: Unstructured = {
            "holderIdentity": self._config.identity,
            "leaseDurationSeconds": max(1, round(self._config.lease_duration)),
            "renewTime": now,
            "leaseTransitions": count,
        }
        return spec | {"acquireTime": now} if acquired else spec

    async def _write(self, lease: Lease, spec: Unstructured) -> None:
        body = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        self._observe(await self._client.patch(LEASE, self._config.key, body))

    def _observe(self, lease: Lease) -> None:
        if self._lease is None or self._lease.metadata.resource_version != lease.metadata.resource_version:
            self._seen_at = time.monotonic()
        leader = lease.spec.holder_identity or ""
        if leader != self.leader:
            self._log.info("leader changed", leader=leader, previous=self.leader)
        self._lease, self.leader = lease, leader

    async def _release(self) -> None:
        """Empty the lease if it is still ours, so that nobody has to wait for its end."""
        lease = self._lease
        if lease is None or self.leader != self._config.identity:
            return
        spec: Unstructured = {"holderIdentity": "", "leaseDurationSeconds": RELEASED_DURATION}
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                try:
                    await self._write(lease, spec)
                except Conflict:
                    # A renewal may have been written whose answer was no longer waited for.
                    newest = await self._client.get(LEASE, self._config.key)
                    if newest.spec.holder_identity != self._config.identity:
                        return
                    await self._write(newest, spec)
            self._log.info("lease released")
        except (KubeError, TimeoutError) as error:
            self._log.warning("failed to release lease, it will expire", error=str(error) or "timed out")

    def _set_leader(self, is_leader: bool) -> None:
        if is_leader:
            self._log.info("became leader")
        self.is_leader = is_leader
        self._gauge.set(is_leader)
