"""Runs the demo from start to end, and reports each step to an observer.

Alerts are sent to the gateway's webhook, signals are watched until they are final, and the audit events of each are
read back from DataStorage and verified. Nothing here knows how it is displayed.
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


class Observer(Protocol):
    """Displays the demo; each call is one step that has happened."""

    def objects_created(self, skipped: Sequence[str]) -> None: ...

    def alerts_sent(self, response: dict[str, Any]) -> None: ...

    def signal_changed(self, signal: SignalProcessing) -> None: ...

    def timeline_verified(self, signal: SignalProcessing, timeline: Timeline, result: Verification) -> None: ...

    def ledger_verified(self, result: Verification) -> None: ...


@dataclass(kw_only=True)
class DemoResult:
    """The decisions, and how they differ from what is expected."""

    signals: dict[str, SignalProcessing] = field(default_factory=dict)
    """The final state of each signal by alert name."""

    problems: list[str] = field(default_factory=list)
    """Every unexpected decision, and everything that did not verify."""

    first_decision: float = 0.0
    """Seconds from sending the alerts to the first completed signal."""


async def run(stack: Stack, observer: Observer, *, timeout: float = 60.0) -> DemoResult:
    """Run the demo on a stack that is ready. Raises TimeoutError when the signals are not final in time."""
    async with (
        asyncio.timeout(timeout),
        open_client(ClientConfig(kubeconfig=stack.kubeconfig, field_manager="kubernaut-demo")) as client,
        open_store_client(StoreConfig(url=stack.datastorage_url)) as store,
    ):
        observer.objects_created(await scenario.create_objects(client, stack.namespace))
        result = await _decide(client, stack, observer)
        for alert, signal in result.signals.items():
            timeline, verification = await _timeline(store, signal.spec.remediation_request_ref.name)
            result.problems += [f"{alert}: {difference}" for difference in scenario.differences(signal)]
            result.problems += [f"{alert}: {finding.message}" for finding in verification.findings]
            observer.timeline_verified(signal, timeline, verification)
        verification = await store.verify()
        observer.ledger_verified(verification)
        if not verification.is_valid:
            result.problems.append(f"ledger verification failed: {verification.message}")
    return result


async def _decide(client: Client, stack: Stack, observer: Observer) -> DemoResult:
    result = DemoResult()
    sent = time.monotonic()
    observer.alerts_sent(await scenario.send(stack.webhook, scenario.payload(datetime.now(UTC))))
    async for signal in scenario.watch_signals(client, stack.namespace):
        observer.signal_changed(signal)
        if signal.status.phase is not None and signal.status.phase.is_final:
            result.first_decision = result.first_decision or time.monotonic() - sent
            result.signals[signal.spec.signal.name] = signal
    return result


async def _timeline(store: DataStorageClient, correlation_id: str) -> tuple[Timeline, Verification]:
    """The audit events of one signal once all are there; gateway and controller send them in the background."""
    while True:
        timeline = await store.timeline(correlation_id)
        if len(timeline.events) >= EVENTS_PER_SIGNAL:
            return timeline, await store.verify(correlation_id)
        # DataStorage notifies nobody of new events; the timeout of `run` ends this loop.
        await asyncio.sleep(0.05)
