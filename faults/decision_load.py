"""Signals on their way in, and the objects that they are about."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from faults.decision_histories import NAMESPACES, DecisionHistory
from kubernaut.api.signals import FINALIZER, SignalProcessing
from kubernaut.kube.client import Client
from kubernaut.kube.errors import AlreadyExists, KubeError, NotFound
from kubernaut.kube.objects import Key
from kubernaut.signalprocessing.kinds import CACHED, SIGNAL
from support.eventually import eventually
from support.signals import a_namespace, a_signal, an_object, as_manifest
from support.supervised_stack import HOME

_RAW: dict[str, Any] = {kind.kind: kind.with_type(dict) for kind in CACHED}
_SPEC = {"ports": [{"port": 80}]}
RETRY_TIMEOUT = 60.0  # seconds


async def retry(call: Callable[[], Awaitable[Any]]) -> None:
    """Call again until the API server has answered, as a client with retries does; what is there or gone is fine."""

    async def probe() -> bool:
        try:
            await call()
        except (AlreadyExists, NotFound):
            return True
        except KubeError as error:
            if error.code and error.code < 500 and error.code != 409:
                raise
            return False
        return True

    await eventually(probe, timeout=RETRY_TIMEOUT, interval=0.05)


@dataclass
class DecisionLoad:
    """What was raised, and what was done to it."""

    client: Client
    rng: random.Random
    raised: list[SignalProcessing] = field(default_factory=list)
    edited: set[str] = field(default_factory=set)
    """Correlations of signals whose status was edited."""
    deleted: set[str] = field(default_factory=set)
    """Names of signals that were deleted."""

    async def open_namespaces(self) -> None:
        """Make the namespaces of the targets, with a service in each."""
        for number in range(NAMESPACES):
            await self._make(f"shop-{number}")

    async def raise_signals(self, history: DecisionHistory) -> None:
        """All signals of a history, spread over its duration; some targets exist, some do not."""
        interval = history.duration / history.signals
        for _ in range(history.signals):
            kind = self.rng.choice(["Service", "Service", "Pod", "ConfigMap"])
            at, target = f"shop-{self.rng.randrange(NAMESPACES + 1)}", self.rng.choice(["api", "api", "gone"])
            raised = a_signal(kind=kind, target=target, at=at)
            manifest = as_manifest(raised)
            manifest["metadata"]["namespace"] = HOME
            if history.has_finalizers:
                manifest["metadata"]["finalizers"] = [FINALIZER]
            await retry(lambda manifest=manifest: self.client.create(SIGNAL, manifest))
            self.raised.append(raised)
            await asyncio.sleep(interval * self.rng.uniform(0.2, 1.2))

    async def replace_namespace(self, name: str, seconds: float) -> None:
        """Delete a namespace with all that is in it, and make it again after a while."""
        await retry(lambda: self.client.delete(_RAW["Namespace"], Key("", name)))
        await asyncio.sleep(seconds)

        async def is_back() -> bool:
            with suppress(KubeError):
                await self.client.create(_RAW["Namespace"], a_namespace(name, "production"))
                return True
            return False

        await eventually(is_back, timeout=RETRY_TIMEOUT, interval=0.1)
        await self._make(name)

    async def _make(self, name: str) -> None:
        await retry(lambda: self.client.create(_RAW["Namespace"], a_namespace(name, "production")))
        service = an_object("Service", "api", name, spec=_SPEC)
        await retry(lambda: self.client.create(_RAW["Service"], service))
