"""Milliseconds to explain one decision, all changes tried; and one decision by the same policy as the baseline."""

import platform
import sys
import time
from statistics import median, quantiles

import msgspec
import uvloop

from kubernaut.api.facts import DecisionFacts, SignalFacts
from kubernaut.api.signals import FallbackEnvironment
from kubernaut.signalprocessing.explanation.explainer import open_explainer
from kubernaut.signalprocessing.policy import smoke
from kubernaut.signalprocessing.policy.live import open_policy
from kubernaut.signalprocessing.policy.sources import builtin

ROUNDS = 60
STARTS = 5


def records() -> list[DecisionFacts]:
    """What representative decisions were made from."""
    found = []
    for each in smoke.representative_inputs():
        environment, source = each.fallback_environment
        alert = each.signal
        signal = SignalFacts(
            name=alert.name, severity=alert.severity, type=alert.type, source=alert.source, labels=alert.labels
        )
        fallback = FallbackEnvironment(environment=environment, source=source)
        found.append(DecisionFacts(signal=signal, kubernetes_context=each.context, fallback_environment=fallback))
    return found


async def seconds_of_starts() -> list[float]:
    """From the text of the policy to an explainer, as each command needs one."""
    took = []
    for _ in range(STARTS):
        began = time.perf_counter()
        async with open_explainer(builtin()):
            took.append(time.perf_counter() - began)
    return took


async def seconds_of_decisions(count: int) -> list[float]:
    inputs = smoke.representative_inputs()
    took = []
    async with open_policy(builtin()) as policy:
        for number in range(count):
            began = time.perf_counter()
            await policy.decide(inputs[number % len(inputs)])
            took.append(time.perf_counter() - began)
    return took


async def measure() -> None:
    facts = records()
    took, tried = [], 0
    async with open_explainer(builtin()) as explainer:
        await explainer.explain(facts[0])
        for number in range(ROUNDS):
            began = time.perf_counter()
            explained = await explainer.explain(facts[number % len(facts)])
            took.append(time.perf_counter() - began)
            tried += explained.tried
    starts = await seconds_of_starts()
    decision = median(await seconds_of_decisions(500))
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(
        f"explain: p50 {median(took) * 1e3:.1f} ms, p95 {quantiles(took, n=20)[18] * 1e3:.1f} ms,"
        f" {tried / ROUNDS:.0f} changes tried each; opening an explainer {median(starts) * 1e3:.0f} ms;"
        f" one decision {decision * 1e3:.2f} ms; record of {len(msgspec.json.encode(facts[0]))} bytes; {machine}",
        file=sys.stderr,
    )
    print(f"explain {median(took) * 1e3:.1f} ms ratio={median(took) / decision:.0f}")


def main() -> None:
    uvloop.run(measure())


if __name__ == "__main__":
    main()
