"""`signal-latency`: a signal is created → a watch sees it Completed, one at a time on an idle system, p50 in ms.

The whole stack runs as `kubernaut up` runs it, on the Kubernetes API that its order finds (a real one where
KUBEBUILDER_ASSETS is set). The baseline is the least such a system can do on the same API server in the same run: an
object is created and its status patched once by the client itself, until the same watch sees it.
Writes per signal are counted by the API server's own revision, the signal's creation left out.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from benchmarks.__main__ import machine
from kubernaut.embedded.demo.scenario import SIGNALS
from kubernaut.embedded.stack import StackConfig, open_stack
from kubernaut.kube.client import Client, ClientConfig, ListOptions, open_client
from kubernaut.kube.objects import Kind, Unstructured
from kubernaut.ops import logs

SIGNALS_MEASURED = 200
WARM_UP = 20
BASELINE = 50

Watched = asyncio.Queue[tuple[str, float]]


def spec(name: str, target: Unstructured) -> Unstructured:
    """A signal about an object of the shop."""
    return {
        "metadata": {"name": name},
        "spec": {
            "remediationRequestRef": {"name": f"rr-{name}"},
            "signal": {
                "fingerprint": f"{abs(hash(name)):064x}"[-64:],
                "name": "Benchmark",
                "severity": "critical",
                "type": "alert",
                "targetType": "kubernetes",
                "targetResource": target,
                "receivedTime": datetime.now(UTC).isoformat(),
            },
        },
    }


@asynccontextmanager
async def completions(client: Client, namespace: str) -> AsyncIterator[Watched]:
    """Names of objects as soon as a watch sees them Completed, with the time."""
    seen: Watched = asyncio.Queue()
    began = await client.list(SIGNALS, ListOptions(namespace=namespace))

    async def follow() -> None:
        watching = client.watch(SIGNALS, began.resource_version, ListOptions(namespace=namespace))
        async with aclosing(watching) as events:
            async for event in events:
                signal = event.object
                if signal is not None and signal.status.phase == "Completed":
                    seen.put_nowait((signal.metadata.name, time.perf_counter()))

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        try:
            yield seen
        finally:
            following.cancel()


async def wait_completed(seen: Watched, name: str) -> float:
    """The time at which this object was seen Completed."""
    async with asyncio.timeout(30):
        while True:
            found, when = await seen.get()
            if found == name:
                return when


async def measure(client: Client, namespace: str, count: int, prefix: str, *, patch: bool) -> list[float]:
    """Milliseconds for each of `count` signals; with `patch` this client writes the status itself."""
    target = {"kind": "Namespace", "name": "default"}
    took = []
    async with completions(client, namespace) as seen:
        for number in range(count):
            manifest = spec(f"{prefix}-{number}", target)
            manifest["metadata"]["namespace"] = namespace
            began = time.perf_counter()
            made = await client.create(SIGNALS, manifest)
            if patch:
                await client.patch_status(SIGNALS, made, {"phase": "Completed"})
            took.append((await wait_completed(seen, made.metadata.name) - began) * 1000)
    return took


async def revision(client: Client, namespace: str) -> int:
    """How many writes the API server has seen so far."""
    return int((await client.list(SIGNALS, ListOptions(namespace=namespace))).resource_version)


async def run() -> None:
    async with open_stack(StackConfig(temporary=True)) as stack:
        config = ClientConfig(kubeconfig=stack.kubeconfig, field_manager="benchmark")
        async with open_client(config) as client:
            elsewhere: Kind[Unstructured] = Kind(
                group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict
            )
            await client.create(elsewhere, {"metadata": {"name": "baseline"}})
            await measure(client, stack.namespace, WARM_UP, "warm", patch=False)
            before = await revision(client, stack.namespace)
            took = await measure(client, stack.namespace, SIGNALS_MEASURED, "signal", patch=False)
            # Kubernetes Events are recorded in the background; the last ones belong to the last signals.
            await asyncio.sleep(1.0)
            writes = (await revision(client, stack.namespace) - before) / SIGNALS_MEASURED - 1
            bare = await measure(client, "baseline", BASELINE, "bare", patch=True)
    p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    baseline = statistics.median(bare)
    details = (
        f"# {machine()}; {stack.kubernetes}\n"
        f"# p50 {p50:.1f} ms, p95 {p95:.1f} ms, max {max(took):.1f} ms over {SIGNALS_MEASURED} signals\n"
        f"# API-server writes per signal, its creation left out: {writes:.2f}\n"
        f"# baseline: create and patch by one client, p50 {baseline:.1f} ms"
    )
    print(details, file=sys.stderr)
    print(f"signal-latency {p50:.1f} ms ratio={p50 / baseline:.2f}")


def main() -> None:
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    asyncio.run(run())


if __name__ == "__main__":
    main()
