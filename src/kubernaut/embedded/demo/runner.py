"""Runs the demo from start to end, and reports each step to an observer.

First, alerts are sent to the gateway's webhook, signals are watched until they are final, and the audit events of each
are read back from DataStorage and verified. Then a rule changes, and another alert is decided by it. Last, a row is
edited in PostgreSQL: verification must find it, and must find nothing when the row is put back. Nothing here knows how
it is displayed.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from kubernaut.api.events import Timeline, Verification
from kubernaut.api.signals import SignalProcessing
from kubernaut.audit import ClientConfig as StoreConfig
from kubernaut.audit import DataStorageClient
from kubernaut.audit import open_client as open_store_client
from kubernaut.embedded.demo import policy_change, scenario, tampering
from kubernaut.embedded.demo.policy_change import PolicyChange
from kubernaut.embedded.demo.tampering import Tampering
from kubernaut.embedded.stack import Stack
from kubernaut.kube.client import Client, ClientConfig, open_client

EVENTS_PER_SIGNAL = 10  # the gateway's one and the controller's nine


class Observer(Protocol):
    """Displays the demo; each call is one step that has happened."""

    def live(self) -> AbstractContextManager[object]: ...

    def objects_created(self, skipped: Sequence[str]) -> None: ...

    def alerts_sent(self, response: dict[str, Any]) -> None: ...

    def signal_changed(self, signal: SignalProcessing) -> None: ...

    def timeline_verified(self, signal: SignalProcessing, timeline: Timeline, result: Verification) -> None: ...

    def decided(self, first_decision: float) -> None: ...

    def policy_changed(self, change: PolicyChange) -> None: ...

    def decided_anew(self, signal: SignalProcessing, before: SignalProcessing) -> None: ...

    def tampered(self, tampering: Tampering, result: Verification) -> None: ...

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
        result = DemoResult()
        with observer.live():
            await _decide(client, stack, observer, result)
        timelines = await _verify_each(store, observer, result)
        observer.decided(result.first_decision)
        await _change_a_rule(client, store, stack, observer, result)
        await _edit_a_row(store, stack, observer, result, timelines[scenario.COMPARED_ALERT])
    return result


async def _decide(client: Client, stack: Stack, observer: Observer, result: DemoResult) -> None:
    sent = time.monotonic()
    observer.alerts_sent(await scenario.send(stack.webhook, scenario.payload(datetime.now(UTC))))
    async for signal in scenario.watch_signals(client, stack.namespace, scenario.EXPECTED):
        observer.signal_changed(signal)
        if signal.status.phase is not None and signal.status.phase.is_final:
            result.first_decision = result.first_decision or time.monotonic() - sent
            result.signals[signal.spec.signal.name] = signal
    for alert, signal in result.signals.items():
        result.problems += [f"{alert}: {difference}" for difference in scenario.differences(signal)]


async def _verify_each(store: DataStorageClient, observer: Observer, result: DemoResult) -> dict[str, Timeline]:
    timelines = {}
    for alert, signal in result.signals.items():
        timelines[alert], verification = await _timeline(store, signal.spec.remediation_request_ref.name)
        result.problems += [f"{alert}: {finding.message}" for finding in verification.findings]
        observer.timeline_verified(signal, timelines[alert], verification)
    return timelines


async def _change_a_rule(
    client: Client, store: DataStorageClient, stack: Stack, observer: Observer, result: DemoResult
) -> None:
    alert = scenario.CHANGED_RULE_ALERT
    async with policy_change.changed_rule(stack.policy, stack.controller_url) as change:
        observer.policy_changed(change)
        await scenario.send(stack.webhook, scenario.payload(datetime.now(UTC), scenario.CHANGED_RULE_ALERT_FILE))
        async for signal in scenario.watch_signals(client, stack.namespace, {alert}):
            if signal.status.phase is not None and signal.status.phase.is_final:
                result.signals[alert] = signal
    signal = result.signals[alert]
    observer.decided_anew(signal, result.signals[scenario.COMPARED_ALERT])
    assigned = signal.status.priority_assignment
    if assigned is None or assigned.priority != change.after:
        result.problems.append(f"{alert}: priority is not {change.after} after the rule was changed")
    await _timeline(store, signal.spec.remediation_request_ref.name)


async def _edit_a_row(
    store: DataStorageClient, stack: Stack, observer: Observer, result: DemoResult, timeline: Timeline
) -> None:
    event = next(each for each in timeline.events if each.event_type == tampering.EVENT_TYPE)
    async with tampering.edited_priority(stack.postgres_url, UUID(str(event.event_id)), "P0") as edit:
        verification = await store.verify()
        observer.tampered(edit, verification)
        if str(edit.event_id) not in {str(finding.event_id) for finding in verification.findings}:
            result.problems.append(f"verification did not find the edit of event {edit.event_id}")
    verification = await store.verify()
    observer.ledger_verified(verification)
    if not verification.is_valid:
        result.problems.append(f"ledger verification failed: {verification.message}")


async def _timeline(store: DataStorageClient, correlation_id: str) -> tuple[Timeline, Verification]:
    """The audit events of one signal once all are there; gateway and controller send them in the background."""
    while True:
        timeline = await store.timeline(correlation_id)
        if len(timeline.events) >= EVENTS_PER_SIGNAL:
            return timeline, await store.verify(correlation_id)
        # DataStorage notifies nobody of new events; the timeout of `run` ends this loop.
        await asyncio.sleep(0.05)
