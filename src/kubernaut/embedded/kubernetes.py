"""A Kubernetes API for a stack or a test: a given cluster, a real control plane, or the embedded server.

In this order: a given kubeconfig; the programs etcd and kube-apiserver, if the machine has them; the embedded API
server, which is a process of this installation.
"""

import json
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
    """Where a server that we run stores its objects."""
    env: Mapping[str, str]
    """Where to look for the programs of a control plane."""
    kubeconfig: Path | None = None
    """An existing cluster."""
    durable: bool = True
    """False: the objects of a real control plane are lost afterwards. For tests."""
    port: int = 0
    """The port to use if it is free."""


@dataclass(frozen=True, kw_only=True)
class Kubernetes:
    """An API that is ready."""

    kubeconfig: Path
    description: str
    """Such as "embedded API server"."""
    port: int = 0
    """Where it listens, if we run it on a port that should be saved."""
    processes: tuple[Process, ...] = ()


@asynccontextmanager
async def open_kubernetes(config: KubernetesConfig) -> AsyncIterator[Kubernetes]:
    """Provide an API until the block ends; stops whatever was started for it."""
    if config.kubeconfig is not None:
        kubeconfig = _existing(config.kubeconfig)
        yield Kubernetes(kubeconfig=kubeconfig, description=f"existing cluster of {kubeconfig}")
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
    spec = pocketkube(config.directory / "objects", config.directory / "kubernetes-api.log", kubeconfig)
    async with open_process(spec) as process:
        yield Kubernetes(kubeconfig=kubeconfig, description="embedded API server", processes=(process,))


def pocketkube(data: Path, log: Path, kubeconfig: Path | None = None) -> ProcessSpec:
    """The embedded API server on a data directory, on the same port at every start.

    It writes a kubeconfig to `kubeconfig`, by default into the data directory.
    """

    async def is_ready(process: Process) -> bool:
        return any(_is_start_message(line) for line in process.log_tail().splitlines())

    command: list[str | Path] = [sys.executable, "-m", "pocketkube", "run", "--output", "json", "--data", data]
    command += ["--kubeconfig", kubeconfig or data / "kubeconfig"]
    return ProcessSpec(name="embedded Kubernetes API", command=command, log=log, ready=is_ready)


def _is_start_message(line: str) -> bool:
    try:
        message = json.loads(line)
    except ValueError:
        return False
    return isinstance(message, dict) and message.keys() >= {"url", "kubeconfig"}


def _existing(kubeconfig: Path) -> Path:
    path = kubeconfig.expanduser().absolute()
    if not path.is_file():
        raise EmbeddedError(f"kubeconfig file not found: {path}: check --kubeconfig and KUBECONFIG")
    return path
