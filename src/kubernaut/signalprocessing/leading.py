"""What only the leading replica does: processing signals, sending finished ones, deleting those that ended long ago."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kubernaut.api.signals import SignalProcessing
from kubernaut.kube.client import Client
from kubernaut.kube.controller import Controller, wait_for_cache_sync
from kubernaut.kube.election import Election, ElectionConfig, default_identity
from kubernaut.kube.informer import Informer
from kubernaut.kube.metrics import KubeMetrics
from kubernaut.kube.objects import Key, key_of
from kubernaut.kube.queue import WorkQueue
from kubernaut.ops.tasks import background
from kubernaut.signalprocessing.config import ControllerConfig
from kubernaut.signalprocessing.retention import Retention, open_retention
from kubernaut.signalprocessing.sinks.dispatch import SinkDispatcher

DRAIN_TIMEOUT = 5.0
"""Seconds for the signals in progress at shutdown."""


@dataclass(frozen=True)
class Leading:
    """What only the leader does."""

    controller: Controller[Key]
    queue: WorkQueue[Key]
    signals: Informer[SignalProcessing]
    retention: Retention
    retention_seconds: float
    sinks: SinkDispatcher

    async def run(self) -> None:
        """Process signals until the queue is shut down and empty, or until cancelled."""
        # What an earlier leader, or this one, left unfinished; whatever is finished takes no more than a look.
        for signal in self.signals.list():
            self.queue.add(key_of(signal))
        async with open_retention(self.retention, self.retention_seconds), self.sinks.running():
            await self.controller.run()


@asynccontextmanager
async def open_leading(
    leading: Leading, election: Election | None, caches: Sequence[Informer[Any]]
) -> AsyncIterator[None]:
    """Do the leader's work while the block runs, in turns with other replicas where there is an election.

    At the end the signals in progress are finished, and the lease is given up.
    """

    async def run() -> None:
        if election is None:
            await leading.run()
            return
        # A leader without caches would only keep the others from leading.
        await wait_for_cache_sync(caches)
        await election.run(leading.run)

    async with background(run(), name="controller") as running:
        try:
            yield
        finally:
            leading.queue.shutdown()
            if leading.controller.is_running:
                await asyncio.wait([running], timeout=DRAIN_TIMEOUT)


def new_election(config: ControllerConfig, client: Client, namespace: str, metrics: KubeMetrics) -> Election | None:
    """The candidate for the controller's lease; None where this replica leads alone."""
    if not config.elects_leader:
        return None
    settings = ElectionConfig(
        key=Key(namespace, config.leader_election_id),
        identity=config.identity or default_identity(),
        lease_duration=config.lease_duration,
        renew_deadline=config.renew_deadline,
        retry_interval=config.retry_period,
    )
    return Election(client, settings, metrics)
