"""The demo from start to end, told to an audience that shows it.

Alerts go in through the gateway's webhook, signals are watched until they have ended, and the trail of each is read
back from DataStorage and verified. Nothing here knows how it is shown.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from kubernaut.api.events import Timeline, Verification
from kubernaut.api.signals import SignalProcessing
from kubernaut.audit import ClientConfig as StoreConfig
from kubernaut.audit import DataStorageClient
from kubernaut.audit import open_client as open_store_client
from kubernaut.embedded.demo import scenario
from kubernaut.embedded.stack import Stack
from kubernaut.kube.client import Client, ClientConfig, open_client

EVENTS_PER_SIGNAL = 10  # the gateway's one and the controller's nine


class Audience(Protocol):
    """Who watches; each call is one thing that has happened."""

    def shop_opened(self, skipped: Sequence[str]) -> None: ...

    def alerts_sent(self, answer: dict[str, Any]) -> None: ...

    def signal_changed(self, signal: SignalProcessing) -> None: ...

    def trail_verified(self, signal: SignalProcessing, trail: Timeline, verdict: Verification) -> None: ...

    def ledger_verified(self, verdict: Verification) -> None: ...


@dataclass(kw_only=True)
class Review:
    """What came of it."""

    signals: dict[str, SignalProcessing] = field(default_factory=dict)
    """The final state of each signal by alert name."""

    problems: list[str] = field(default_factory=list)
    """Everything that is not as it must be."""

    first_decision: float = 0.0
    """Seconds from sending the alerts to the first completed signal."""


async def play(stack: Stack, audience: Audience, *, within: float = 60.0) -> Review:
    """Run the demo on a stack that is up. Raises TimeoutError when the signals do not end in time."""
    async with (
        asyncio.timeout(within),
        open_client(ClientConfig(kubeconfig=stack.kubeconfig, field_manager="kubernaut-demo")) as client,
        open_store_client(StoreConfig(url=stack.datastorage_url)) as store,
    ):
        audience.shop_opened(await scenario.open_shop(client, stack.namespace))
        review = await _alerts(client, stack, audience)
        for alert, signal in review.signals.items():
            trail, verdict = await _trail(store, signal.spec.remediation_request_ref.name)
            review.problems += [f"{alert}: {difference}" for difference in scenario.differences(signal)]
            review.problems += [f"{alert}: {finding.message}" for finding in verdict.findings]
            audience.trail_verified(signal, trail, verdict)
        verdict = await store.verify()
        audience.ledger_verified(verdict)
        if not verdict.is_valid:
            review.problems.append(f"the ledger does not verify: {verdict.message}")
    return review


async def _alerts(client: Client, stack: Stack, audience: Audience) -> Review:
    review = Review()
    sent = time.monotonic()
    audience.alerts_sent(await scenario.post(stack.webhook, scenario.payload(datetime.now(UTC))))
    async for signal in scenario.states(client, stack.namespace):
        audience.signal_changed(signal)
        if signal.status.phase is not None and signal.status.phase.is_final:
            review.first_decision = review.first_decision or time.monotonic() - sent
            review.signals[signal.spec.signal.name] = signal
    return review


async def _trail(store: DataStorageClient, correlation_id: str) -> tuple[Timeline, Verification]:
    """The trail of one signal once it is complete; gateway and controller send it in the background."""
    while True:
        trail = await store.timeline(correlation_id)
        if len(trail.events) >= EVENTS_PER_SIGNAL:
            return trail, await store.verify(correlation_id)
        # The store has no notification of its own, and the caller's time limit ends this.
        await asyncio.sleep(0.05)
