"""A Kubernetes API for a stack or a test: a given cluster, a real control plane, or the embedded server.

In this order: a given kubeconfig; the programs etcd and kube-apiserver, if the machine has them; the embedded API
server, which is a process of this installation.
"""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from kubernaut.embedded.controlplane import find_assets, open_servers
from kubernaut.embedded.process import Process, ProcessSpec, open_process
from kubernaut.embedded.secret_files import write_secret
from kubernaut.kube.credentials import read_config
from kubernaut.kube.kubeconfig import minified
from kubernaut.ops.logins import without_login


@dataclass(frozen=True, kw_only=True)
class KubernetesConfig:
    """Which API to use or to run, and where."""

    directory: Path
    """Where a server that we run stores its objects."""
    env: Mapping[str, str]
    """Where to look for the programs of a control plane."""
    kubeconfig: Path | Sequence[Path] | None = None
    """An existing cluster: a file, or several that are merged as kubectl does."""
    context: str | None = None
    """The context of `kubeconfig`; None is the current one."""
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
        with _existing(config.kubeconfig, config.context, config.directory) as cluster:
            yield cluster
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


@contextmanager
def _existing(kubeconfig: Path | Sequence[Path], context: str | None, directory: Path) -> Iterator[Kubernetes]:
    """One context as a file of its own: which one is current in the user's files may change while the stack runs."""
    chosen = read_config(kubeconfig, context)
    paths = (kubeconfig,) if isinstance(kubeconfig, Path) else kubeconfig
    path = directory / "existing-cluster.kubeconfig"
    write_secret(path, yaml.safe_dump(minified(paths, chosen.context_name), sort_keys=False))
    try:
        address = without_login(chosen.cluster.server)
        yield Kubernetes(kubeconfig=path, description=f"context {chosen.context_name}, {address}")
    finally:
        path.unlink(missing_ok=True)  # it has the credentials
