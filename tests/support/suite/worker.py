"""What each worker of the suite has to itself: a namespace for signals, a policy folder, a spool, a controller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest_muster as muster
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.informer import Informer
from kubernaut.kube.objects import Key, KubeObject, Unstructured, is_older
from kubernaut.signalprocessing import default_policy
from kubernaut.signalprocessing.config import (
    BufferConfig,
    ClassifierConfig,
    ClusterConfig,
    ControllerConfig,
    DataStorageConfig,
    OnPolicyError,
    RecordedEvents,
    SignalProcessingConfig,
)
from kubernaut.signalprocessing.policy.sources import from_text
from kubernaut.signalprocessing.service import Service, open_service
from kubernaut.signalprocessing.signal_mode import FILE as SIGNAL_MODES
from support.signalprocessing import RAW
from support.signals import an_object
from support.suite.polling import eventually

MAPPING = "prod-*: production\nstaging-*: staging\ndev-*: development\n"
REJECTED = "signalprocessing_policy_last_reload_successful"


def suite_policy() -> str:
    """The policy that every worker starts with."""
    return (resources.files(__package__) / "policy.rego").read_text()


class Policies:
    """The policy folder of one controller, as its operator changes it, and what the controller made of that."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "policy.rego"
        self.service: Service | None = None
        folder.mkdir(parents=True)
        self.file.write_text(suite_policy())

    async def apply(self, text: str) -> None:
        """Write a version and wait until it is in force."""
        self.file.write_text(text)
        wanted = from_text(text).hash
        await eventually(lambda: self._service.policy.current.hash == wanted, description="the policy is in force")

    async def reject(self, text: str) -> None:
        """Write a version and wait until it was rejected; the previous one stays in force."""
        self.file.write_text(text)
        await eventually(lambda: self._sample(REJECTED) == 0, description="the policy is rejected")

    async def restore(self) -> None:
        """The suite's own policy again, whatever a spec has done."""
        if self.file.exists() and self.file.read_text() == suite_policy() and self._sample(REJECTED) == 1:
            wanted = from_text(suite_policy()).hash
            await eventually(lambda: self._service.policy.current.hash == wanted)
            return
        await self.apply(suite_policy())
        await eventually(lambda: self._sample(REJECTED) == 1)

    @property
    def _service(self) -> Service:
        assert self.service is not None, "the controller has not been started"
        return self.service

    def _sample(self, name: str) -> float | None:
        return self._service.registry.get_sample_value(name)


@dataclass(frozen=True, kw_only=True)
class SuiteController:
    """A controller that runs for all specs of one worker, and the places that are its own."""

    home: str
    """The namespace of its signals."""
    kubeconfig: Path
    policies: Policies
    service: Service
    config: SignalProcessingConfig

    async def observe(self, manifest: Unstructured) -> None:
        """Wait until the controller's cache holds this state of an object, if it caches that kind.

        An alert comes long after its pod; a spec that raises one at once would ask who was faster.
        """
        metadata = manifest["metadata"]
        key = Key(metadata.get("namespace", ""), metadata["name"])
        cache = self._cache(manifest["kind"])
        if cache is None:
            return

        def is_there() -> bool:
            seen = cache.get(key)
            return seen is not None and not is_older(seen.metadata.resource_version, than=metadata["resourceVersion"])

        await eventually(is_there, description=f"the controller has seen {manifest['kind']} {key}")

    async def observe_deletion(self, kind: str, key: Key) -> None:
        """Wait until the controller's cache holds the object no more."""
        cache = self._cache(kind)
        if cache is not None:
            await eventually(lambda: cache.get(key) is None, description=f"the controller has seen {kind} {key} go")

    def _cache(self, kind: str) -> Informer[KubeObject] | None:
        return next((each for each in self.service.controller._caches if each.kind.kind == kind), None)

    def sample(self, name: str, /, **labels: str) -> float:
        """A metric of this controller; 0 where it was never counted."""
        return self.service.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def open_suite_controller(
    worker: muster.Workspace, kubeconfig: Path, datastorage: dict[str, Any]
) -> AsyncIterator[SuiteController]:
    """The worker's controller, started as in production, and the gate: no spec begins before it decides.

    `datastorage` is what the run's DataStorage has published.
    """
    home, folder = worker.name("sp"), worker.directory / "suite"
    policies = Policies(folder / "policies")
    config = config_for(home, folder, kubeconfig, datastorage["url"])
    await create_home(home, kubeconfig)
    async with open_service(config) as service:
        policies.service = service
        await asyncio.wait_for(service.ready(), 20)
        yield SuiteController(home=home, kubeconfig=kubeconfig, policies=policies, service=service, config=config)


def config_for(
    home: str,
    folder: Path,
    kubeconfig: Path,
    datastorage_url: str,
    *,
    cluster: str = "",
    drain_timeout: float = 5.0,
    on_policy_error: str = OnPolicyError.FALLBACK,
) -> SignalProcessingConfig:
    """The configuration of a controller whose files are in a folder."""
    modes = folder / "signal-modes" / SIGNAL_MODES
    modes.parent.mkdir(parents=True, exist_ok=True)
    modes.write_text((resources.files(default_policy) / SIGNAL_MODES).read_text())
    return SignalProcessingConfig(
        kubeconfig=kubeconfig,
        cluster=ClusterConfig(name=cluster),
        controller=ControllerConfig(
            metrics_addr="127.0.0.1:0",
            health_probe_addr="127.0.0.1:0",
            namespace=home,
            events=RecordedEvents.ALL,
        ),
        classifier=ClassifierConfig(
            policy_dir=folder / "policies", signal_modes=modes, on_policy_error=OnPolicyError(on_policy_error)
        ),
        datastorage=replace(
            DataStorageConfig(),
            url=datastorage_url,
            spool_dir=folder / "spool",
            drain_timeout=drain_timeout,
            buffer=BufferConfig(flush_interval=0.01),
        ),
    )


async def create_home(home: str, kubeconfig: Path) -> None:
    """The namespace of the signals, with the mapping that decides namespaces without a label."""
    async with open_client(ClientConfig(kubeconfig=kubeconfig, field_manager="suite")) as client:
        await client.create(RAW["Namespace"], {"metadata": {"name": home}})
        mapping = an_object("ConfigMap", "kubernaut-environment-config", home) | {"data": {"mapping": MAPPING}}
        await client.create(RAW["ConfigMap"], mapping)
