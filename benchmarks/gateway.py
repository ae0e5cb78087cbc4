"""`gateway`: new signals stored per second through the webhook; p95 per notification, and writes per alert.

The whole stack runs as `kubernaut up` runs it, so the controller decides every signal meanwhile. Senders deliver
notifications of some alerts each, one after the other, as Alertmanagers do; every alert is about a Deployment of its
own. The baseline are the least writes that such an alert can take, a request, a signal and a status, by one client with
as many calls at the same time on the same API server.

The details have the memory of the gateway before and after one notification of 32 MiB.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import httpx2
import psutil

from benchmarks.__main__ import machine
from benchmarks.signal_latency import revision, spec
from kubernaut.embedded.demo.scenario import SIGNALS
from kubernaut.embedded.stack import Stack, StackConfig, open_stack
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.objects import Kind, Unstructured
from kubernaut.ops import logs

ALERTS = 1000
PER_NOTIFICATION = 20
SENDERS = 8
BASELINE = 300
LARGE = 2**25

DEPLOYMENTS: Kind[Unstructured] = Kind(group="apps", version="v1", kind="Deployment", plural="deployments", type=dict)
NAMESPACES: Kind[Unstructured] = Kind(
    group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict
)


def deployment(number: int) -> Unstructured:
    labels = {"app": f"app-{number}"}
    containers = [{"name": "main", "image": "registry.example.com/shop:1"}]
    return {
        "metadata": {"name": f"app-{number}", "namespace": "bench"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def alert(target: str, padding: str = "") -> Unstructured:
    return {
        "status": "firing",
        "labels": {"alertname": "Down", "severity": "critical", "namespace": "bench", "deployment": target},
        "annotations": {"summary": f"{target} is down", "description": padding},
        "startsAt": "2026-11-29T20:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph?g0.expr=up",
        "fingerprint": "0123456789abcdef",
    }


def notification(group: str, alerts: list[Unstructured]) -> bytes:
    return json.dumps(
        {"version": "4", "groupKey": group, "status": "firing", "receiver": "bench", "alerts": alerts}
    ).encode()


async def post(http: httpx2.AsyncClient, webhook: str, body: bytes) -> httpx2.Response:
    return await http.post(webhook, content=body, headers={"content-type": "application/json"})


async def concurrently(count: int, work: Callable[[int], Awaitable[None]]) -> float:
    """Seconds until `count` pieces of work are done, SENDERS at a time."""
    numbers = iter(range(count))
    began = time.perf_counter()

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(SENDERS):
            tasks.create_task(worker())
    return time.perf_counter() - began


async def measure_large(http: httpx2.AsyncClient, stack: Stack) -> str:
    """Memory of the gateway before and after one notification of 32 MiB, delivered until it is stored."""
    (process,) = (
        child for child in psutil.Process().children(recursive=True) if "gateway" in child.cmdline()[1:4]
    )  # fmt: skip
    before = process.memory_info().rss
    size = len(json.dumps([alert(f"app-{ALERTS}", "x" * 8000)]))
    count = LARGE // size - 1
    body = notification("large", [alert(f"app-{number % ALERTS}", "x" * 8000) for number in range(count)])
    peak, deliveries, status = before, 0, 0
    began = time.perf_counter()
    while status != 207:
        deliveries += 1
        answering = asyncio.ensure_future(post(http, stack.webhook, body))
        while not (await asyncio.wait([answering], timeout=0.05))[0]:
            peak = max(peak, process.memory_info().rss)
        status = answering.result().status_code
        if status not in (207, 503):
            raise RuntimeError(f"the large notification was answered with {status}")
    took = time.perf_counter() - began
    return (
        f"{len(body) / 2**20:.1f} MiB with {count} alerts: resident {before / 2**20:.0f} MiB before, "
        f"{peak / 2**20:.0f} MiB at most, {deliveries} deliveries, {took:.1f} s"
    )


async def bare_rate(client: Client) -> float:
    """New alerts per second, if a client only writes what one takes: two objects and a status."""

    async def write(number: int) -> None:
        target = {"kind": "Deployment", "name": f"app-{number}", "namespace": "bench"}
        for copy in ("a", "b"):
            manifest = spec(f"bare-{copy}-{number}", target)
            manifest["metadata"]["namespace"] = "baseline"
            made = await client.create(SIGNALS, manifest)
        await client.patch_status(SIGNALS, made, {"phase": "Completed"})

    return BASELINE / await concurrently(BASELINE, write)


async def run() -> None:
    config = StackConfig(temporary=True)
    async with (
        open_stack(config) as stack,
        open_client(ClientConfig(kubeconfig=stack.kubeconfig, field_manager="benchmark")) as client,
        httpx2.AsyncClient(timeout=60, trust_env=False) as http,
    ):
        for namespace in ("bench", "baseline"):
            await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        await concurrently(ALERTS, lambda number: _ignore(client.create(DEPLOYMENTS, deployment(number))))
        latencies: list[float] = []
        retried = 0

        async def deliver(number: int) -> None:
            nonlocal retried
            first = number * PER_NOTIFICATION
            alerts = [alert(f"app-{each}") for each in range(first, first + PER_NOTIFICATION)]
            body = notification(f"group-{number}", alerts)
            while True:
                began = time.perf_counter()
                answer = await post(http, stack.webhook, body)
                latencies.append((time.perf_counter() - began) * 1000)
                if answer.status_code == 207:
                    return
                retried += 1

        before = await revision(client, stack.namespace)
        seconds = await concurrently(ALERTS // PER_NOTIFICATION, deliver)
        writes = (await revision(client, stack.namespace) - before) / ALERTS
        bare = await bare_rate(client)
        large = await measure_large(http, stack)
    rate, p95 = ALERTS / seconds, statistics.quantiles(latencies, n=20)[-1]
    details = (
        f"# {machine()}; {stack.kubernetes}\n"
        f"# {ALERTS} alerts in notifications of {PER_NOTIFICATION} by {SENDERS} senders: {seconds:.1f} s, "
        f"p95 {p95:.0f} ms per notification, {retried} sent again\n"
        f"# API-server writes per alert, those of the controller meanwhile included: {writes:.2f}\n"
        f"# baseline: {bare:.0f} alerts/s by one client\n"
        f"# {large}"
    )
    print(details, file=sys.stderr)
    print(f"gateway {rate:.0f} alerts/s ratio={rate / bare:.2f}")


async def _ignore(created: Awaitable[object]) -> None:
    await created


def main() -> None:
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    asyncio.run(run())


if __name__ == "__main__":
    main()
