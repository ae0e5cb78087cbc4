"""What is kept of a spec that fails: the controller's log, its objects, Events, ledger and queues, in the run's record.

They are sections of the test's report, so that they stand in the record and in the HTML page of a triage.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import MutableMapping
from typing import Any

import httpx2
import structlog

from kubernaut.audit.client import open_client as open_store_client
from kubernaut.audit.config import ClientConfig as StoreClientConfig
from kubernaut.kube.client import ClientConfig, open_client
from pytest_muster.records.run import RESOURCE_THREAD
from support.signalprocessing import RAW, Cluster
from support.suite.specs import Suite
from support.suite.worker import SuiteController

TIMEOUT = 10.0  # seconds for everything that is asked
MAX_LINES = 5000


class ControllerLog:
    """The newest lines that the worker's controller has logged, kept out of the output of whatever test runs."""

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str]] = deque(maxlen=MAX_LINES)

    def install(self) -> None:
        """Take the controller's lines from now on; those of other threads go where they went."""
        processors = structlog.get_config()["processors"]
        structlog.configure(processors=[self._take, *processors])

    def _take(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if threading.current_thread().name != RESOURCE_THREAD:
            return event
        self._lines.append((time.time(), json.dumps({"level": method, **event}, default=str)))
        raise structlog.DropEvent

    def text(self) -> str:
        """The lines, each with its time; all of them, because what was logged at the start may tell the cause."""
        return "\n".join(f"{at:.3f} {line}" for at, line in self._lines)


async def gather(suite: Suite, controller: SuiteController | None) -> dict[str, str]:
    """Title and text of each section; what cannot be asked any more is said in its place."""
    sections: dict[str, str] = {}
    for title, asking in (
        ("signals and their Events", _objects(suite)),
        ("ledger", _ledger(suite)),
        ("queues", _queues(suite, controller)),
    ):
        try:
            sections[title] = await asyncio.wait_for(asking, TIMEOUT)
        except Exception as error:  # noqa: BLE001 - the spec has failed, perhaps because of just that
            sections[title] = f"could not be asked: {type(error).__name__}: {error}"
    return sections


async def _objects(suite: Suite) -> str:
    """The signals that the spec has raised, as the API server has them."""
    parts = []
    async with open_client(ClientConfig(kubeconfig=suite.cluster.kubeconfig, field_manager="must-gather")) as client:
        cluster = Cluster(client=client, kubeconfig=suite.cluster.kubeconfig, home=suite.home)
        for key in suite.raised:
            parts.append(json.dumps(await client.get(RAW["SignalProcessing"], key), indent=1, default=str))
            events = await cluster.events_about(key)
            parts += [f"{event['type']} {event['reason']}: {event['message']}" for event in events]
    return "\n".join(parts) or "the spec has raised no signal"


async def _ledger(suite: Suite) -> str:
    """For each correlation id of the spec how many events there are, and whether their chain verifies."""
    lines = []
    async with open_store_client(StoreClientConfig(url=suite.store.url, timeout=3)) as client:
        for correlation in suite.correlations:
            events = (await client.timeline(correlation)).events
            verdict = await client.verify(correlation)
            lines.append(f"{correlation}: {len(events)} events, valid: {verdict.is_valid}")
            lines += [f"  {event.sequence} {event.event_type} {event.event_outcome}" for event in events]
    return "\n".join(lines) or "the spec has no correlation id"


async def _queues(suite: Suite, controller: SuiteController | None) -> str:
    """How much waits in the controller, its spool, and the dead-letter queue."""
    lines = []
    if controller is not None:
        store = controller.service.store
        lines.append(f"spool: {store.waiting} wait, {store.quarantined} quarantined, {store.dropped} dropped")
        lines.append(f"work queue: {controller.sample('workqueue_depth', name='signals'):g}")
    async with httpx2.AsyncClient(trust_env=False, timeout=3) as http:
        metrics = (await http.get(f"{suite.store.url}/metrics")).text
    lines += [line for line in metrics.splitlines() if "dead_letter" in line and not line.startswith("#")]
    return "\n".join(lines)
