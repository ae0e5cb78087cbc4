"""A cluster of many pods, and a controller process that is started on it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernaut.embedded import services
from kubernaut.embedded.directory import open_directory
from kubernaut.embedded.services import CommonSettings, open_service
from kubernaut.embedded.stack import Stack, StackConfig, open_stack
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.objects import Kind, Unstructured

PODS = 10_000
NAMESPACES = 50
WRITERS = 16
_PODS: Kind[Unstructured] = Kind(version="v1", kind="Pod", plural="pods", type=dict)
_NAMESPACES: Kind[Unstructured] = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A controller that is ready."""

    seconds: float
    """From the start of its process."""
    pid: int
    kubernetes: str


def a_pod(number: int) -> Unstructured:
    """One of a Deployment's pods, with the fields of a real one that a cache need not keep."""
    name, app = f"app-{number % 500}-7d4b9c-{number}", f"app-{number % 500}"
    env = [{"name": f"SETTING_{each}", "value": "x" * 40} for each in range(20)]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{app}-7d4b9c", "uid": f"u-{app}"}
    return {
        "metadata": {
            "name": name,
            "namespace": f"load-{number % NAMESPACES}",
            "labels": {"app": app, "pod-template-hash": "7d4b9c", "app.kubernetes.io/part-of": "load"},
            "annotations": {"checksum/config": f"{number:064x}", "prometheus.io/scrape": "true"},
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1", "env": env}]},
    }


@asynccontextmanager
async def open_controller_on_many_pods() -> AsyncIterator[Started]:
    """Start a controller of its own beside the stack, once the pods exist."""
    async with open_stack(StackConfig(temporary=True)) as stack:
        config = ClientConfig(kubeconfig=stack.kubeconfig, field_manager="benchmark")
        async with open_client(config) as client:
            await _make_pods(client)
        async with _controller(stack) as started:
            yield started


@asynccontextmanager
async def _controller(stack: Stack) -> AsyncIterator[Started]:
    with open_directory(stack.directory / "second") as directory:
        common = CommonSettings(
            kubeconfig=stack.kubeconfig,
            namespace="elsewhere",
            datastorage_url=stack.datastorage_url,
            spools=directory.subdirectory("spools"),
        )
        service = services.controller(common, Path(stack.policy).parent)
        began = time.perf_counter()
        async with open_service(service, directory, {}) as running:
            seconds = time.perf_counter() - began
            yield Started(seconds=seconds, pid=running.process.pid, kubernetes=stack.kubernetes)


async def _make_pods(client: Client) -> None:
    for number in range(NAMESPACES):
        await client.create(_NAMESPACES, {"metadata": {"name": f"load-{number}"}})
    numbers = iter(range(PODS))

    async def write() -> None:
        for number in numbers:
            await client.create(_PODS, a_pod(number))

    await asyncio.gather(*(write() for _ in range(WRITERS)))
