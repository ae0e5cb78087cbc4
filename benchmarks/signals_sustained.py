"""`signals-sustained`: a burst of 1,000 signals is created → all are Completed and all their audit events committed.

The whole stack runs as `kubernaut up` runs it, on the Kubernetes API that its order finds (a real one where
KUBEBUILDER_ASSETS is set). The time counts from the first create. The baseline is what such a system cannot do without
on the same API server in the same run: a client creates as many objects and patches the status of each once.
"""

import asyncio
import sys
import time

import asyncpg

from benchmarks.__main__ import machine
from benchmarks.signal_latency import Watched, completions, spec
from kubernaut.embedded.demo.scenario import SIGNALS
from kubernaut.embedded.stack import StackConfig, open_stack
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.objects import Kind, Unstructured
from kubernaut.ops import logs

BURST = 1_000
WRITERS = 16
EVENTS_PER_SIGNAL = 9
TIMEOUT = 300.0  # seconds
_NAMESPACES: Kind[Unstructured] = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict)


async def create(client: Client, namespace: str, prefix: str, *, patch: bool = False) -> None:
    """The whole burst, by several writers."""
    numbers = iter(range(BURST))

    async def write() -> None:
        for number in numbers:
            manifest = spec(f"{prefix}-{number}", {"kind": "Namespace", "name": "default"})
            manifest["metadata"]["namespace"] = namespace
            made = await client.create(SIGNALS, manifest)
            if patch:
                await client.patch_status(SIGNALS, made, {"phase": "Completed"})

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def completed(seen: Watched) -> tuple[float, float]:
    """When the first and when the last signal of the burst were seen Completed."""
    names: set[str] = set()
    first = last = 0.0
    async with asyncio.timeout(TIMEOUT):
        while len(names) < BURST:
            name, last = await seen.get()
            first = first or last
            names.add(name)
    return first, last


async def committed(url: str) -> float:
    """When the last audit event was found in the ledger."""
    connection = await asyncpg.connect(url)
    query = "SELECT count(*) FROM audit_events WHERE correlation_id LIKE 'rr-burst-%'"
    try:
        async with asyncio.timeout(TIMEOUT):
            while await connection.fetchval(query) < BURST * EVENTS_PER_SIGNAL:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return time.perf_counter()


async def run() -> None:
    async with open_stack(StackConfig(temporary=True)) as stack:
        config = ClientConfig(kubeconfig=stack.kubeconfig, field_manager="benchmark")
        async with open_client(config) as client:
            await client.create(_NAMESPACES, {"metadata": {"name": "baseline"}})
            began = time.perf_counter()
            await create(client, "baseline", "bare", patch=True)
            baseline = BURST / (time.perf_counter() - began)
            async with completions(client, stack.namespace) as seen:
                began = time.perf_counter()
                creating = asyncio.ensure_future(create(client, stack.namespace, "burst"))
                first, last = await completed(seen)
                await creating
            ended = await committed(stack.postgres_url)
    rate = BURST / (ended - began)
    details = (
        f"# {machine()}; {stack.kubernetes}\n"
        f"# first Completed after {first - began:.2f} s, last after {last - began:.2f} s, "
        f"all events committed after {ended - began:.2f} s\n"
        f"# baseline: create and patch by one client, {baseline:.0f} signals/s"
    )
    print(details, file=sys.stderr)
    print(f"signals-sustained {rate:.0f} signals/s ratio={rate / baseline:.2f}")


def main() -> None:
    logs.configure(logs.LogLevel.WARN, stream=sys.stderr)
    asyncio.run(run())


if __name__ == "__main__":
    main()
