"""Full decisions per second through the policy process, and the same engine in this process as the baseline."""

import asyncio
import platform
import sys
import time
from statistics import quantiles

import uvloop

from kubernaut.signalprocessing.policy import sandbox, smoke
from kubernaut.signalprocessing.policy.engines import ENGINES
from kubernaut.signalprocessing.policy.input import encode
from kubernaut.signalprocessing.policy.live import PolicyVersion, open_policy
from kubernaut.signalprocessing.policy.sources import builtin

DECISIONS = 20_000
CONCURRENT = 4  # the workers of a controller


def in_process(count: int) -> float:
    """Decisions per second of the engine alone: no process, no frames, no check of the answers."""
    sources = builtin()
    engine = ENGINES["regorus"](sandbox.DENIED_BUILTINS)
    for file, text in sources.files:
        engine.add_module(file, text)
    engine.add_module("kubernaut_entry.rego", sources.entry)
    documents = [encode(policy_input).decode() for policy_input in smoke.representative_inputs()]
    began = time.perf_counter()
    for number in range(count):
        for _ in engine.evaluate(documents[number % len(documents)], ["decision"]):
            pass
    return count / (time.perf_counter() - began)


async def through_the_process(policy: PolicyVersion, count: int) -> tuple[float, list[float]]:
    """Decisions per second by as many callers as a controller has workers, and the seconds of each decision."""
    inputs = smoke.representative_inputs()
    took: list[float] = []

    async def caller(first: int) -> None:
        for number in range(first, count, CONCURRENT):
            began = time.perf_counter()
            await policy.decide(inputs[number % len(inputs)])
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(CONCURRENT)))
    return count / (time.perf_counter() - began), took


async def measure() -> None:
    async with open_policy(builtin()) as policy:
        await through_the_process(policy, 500)
        rate, took = await through_the_process(policy, DECISIONS)
    baseline = in_process(DECISIONS // 4)
    cuts = quantiles(took, n=100)
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(
        f"decision: {CONCURRENT} callers, p50 {cuts[49] * 1e3:.3f} ms, p95 {cuts[94] * 1e3:.3f} ms,"
        f" p99 {cuts[98] * 1e3:.3f} ms; in-process {baseline:.0f} decisions/s; {machine}",
        file=sys.stderr,
    )
    print(f"decision {rate:.0f} decisions/s ratio={rate / baseline:.2f}")


def main() -> None:
    uvloop.run(measure())


if __name__ == "__main__":
    main()
