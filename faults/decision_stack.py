"""Two controllers behind a proxy of their API server, and what a fault takes hold of."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from faults import clocks
from faults.api_proxy import ApiProxy, open_api_proxy
from faults.clocks import Clock
from faults.decision_histories import CONTROLLERS, LEADER
from faults.decision_policies import policy_text
from kubernaut.kube.election import LEASE
from kubernaut.kube.errors import KubeError
from kubernaut.kube.objects import Key
from support.supervised_stack import HOME, Component, ControllerOptions, SupervisedStack, open_supervised_stack

LEASE_NAME = "signalprocessing.kubernaut.ai"
FIRST_POLICY = "v0"


@dataclass
class DecisionStack:
    """The processes of one history."""

    parts: SupervisedStack
    proxy: ApiProxy
    clocks: dict[str, Clock]
    rng: random.Random
    policies: list[str] = field(default_factory=lambda: [FIRST_POLICY])
    """Versions of the policy that were written."""

    async def component(self, target: str) -> Component:
        """The component of a name, or the controller that leads."""
        if target == LEADER:
            target = await self.leader()
        return self.parts[target]

    async def leader(self) -> str:
        """The name of the controller that holds the lease; any of them while nobody does."""
        with suppress(KubeError):
            lease = await self.parts.client.get(LEASE, Key(HOME, LEASE_NAME))
            pid = (lease.spec.holder_identity or "").rpartition("_")[2]
            for name in CONTROLLERS:
                component = self.parts[name]
                if component.running is not None and str(component.pid) == pid:
                    return name
        return self.rng.choice(CONTROLLERS)


@asynccontextmanager
async def open_decision_stack(path: Path, rng: random.Random, library: Path | None) -> AsyncIterator[DecisionStack]:
    """Start everything; stop it all at the end."""
    async with AsyncExitStack() as exits:
        proxies: list[ApiProxy] = []
        path.mkdir(parents=True)

        async def behind_proxy(kubeconfig: Path) -> Path:
            written = path / "proxied-kubeconfig"
            proxies.append(await exits.enter_async_context(open_api_proxy(kubeconfig, written, rng)))
            return written

        known = {name: clocks.new_clock(library, path / f"{name}.clock") for name in CONTROLLERS} if library else {}
        options = ControllerOptions(
            settings={
                "replicas": 2,
                "leaseDuration": "2s",
                "renewDeadline": "1500ms",
                "retryPeriod": "200ms",
                # A clock that is a month ahead would find every signal expired.
                "retention": 0,
            },
            env=lambda number: known[CONTROLLERS[number]].env if known else {},
            kubeconfig=behind_proxy,
            policy=policy_text(FIRST_POLICY),
        )
        opening = open_supervised_stack(path, controllers=2, durable=False, options=options)
        async with opening as parts:
            for component in parts.components.values():
                component.max_failed_starts = 100
                component.restart_delay = 0.1
            yield DecisionStack(parts=parts, proxy=proxies[0], clocks=known, rng=rng)


async def pause(component: Component, seconds: float) -> None:
    """Stop a process for a while, as a machine that is overloaded does."""
    pid = component.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
