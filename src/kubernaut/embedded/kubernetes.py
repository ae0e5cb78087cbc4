"""A Kubernetes API for a stack or a test: the cluster that was named, a real control plane, or the embedded server.

The order is: a kubeconfig that somebody names; the programs etcd and kube-apiserver, if the machine has them; the
embedded API server, which is a process of this installation.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kubernaut.embedded.controlplane import find_assets, open_servers
from kubernaut.embedded.errors import EmbeddedError
from kubernaut.embedded.process import Process, ProcessSpec, open_process


@dataclass(frozen=True, kw_only=True)
class KubernetesConfig:
    """Which API to use or to run, and where."""

    directory: Path
    """Keeps the objects of a server that we run."""
    env: Mapping[str, str]
    """Where to look for the programs of a control plane."""
    kubeconfig: Path | None = None
    """A cluster that runs already."""
    durable: bool = True
    """Off: objects of a real control plane are gone afterwards. For tests."""
    port: int = 0
    """The port to take if it is free."""


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """An API that answers."""

    kubeconfig: Path
    description: str
    """Such as "embedded API server"."""
    port: int = 0
    """Where it listens, if we run it on a port that should be remembered."""
    processes: tuple[Process, ...] = ()


@asynccontextmanager
async def open_kubernetes(config: KubernetesConfig) -> AsyncIterator[Kubernetes]:
    """An API to work with until the block ends; what was started for it ends then too."""
    if config.kubeconfig is not None:
        yield Kubernetes(kubeconfig=_existing(config.kubeconfig), description="the cluster of your kubeconfig")
        return
    if (assets := find_assets(config.env)) is not None:
        directory = config.directory / "control-plane"
        async with open_servers(assets, directory, durable=config.durable, port=config.port) as servers:
            yield Kubernetes(
                kubeconfig=servers.kubeconfig,
                description=f"kube-apiserver and etcd of {assets}",
                port=servers.port,
                processes=servers.processes,
            )
        return
    kubeconfig = config.directory / "kubeconfig"
    async with open_process(_embedded(config, kubeconfig)) as process:
        yield Kubernetes(kubeconfig=kubeconfig, description="embedded API server", processes=(process,))


def _embedded(config: KubernetesConfig, kubeconfig: Path) -> ProcessSpec:
    async def is_ready(process: Process) -> bool:
        return any(line.startswith("{") for line in process.output().splitlines())

    command = [sys.executable, "-m", "pocketkube", "run", "--output", "json"]
    # It remembers its port by itself.
    command += ["--data", str(config.directory / "objects"), "--kubeconfig", str(kubeconfig)]
    return ProcessSpec(
        name="embedded Kubernetes API",
        command=command,
        log=config.directory / "kubernetes-api.log",
        ready=is_ready,
    )


def _existing(kubeconfig: Path) -> Path:
    path = kubeconfig.expanduser().absolute()
    if not path.is_file():
        raise EmbeddedError(f"{path} is not a kubeconfig file: check --kubeconfig and KUBECONFIG")
    return path
