"""Our own services as child processes: their production commands, with configuration files in the data directory.

Only this module knows the keys of their configuration.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from kubernaut.embedded.directory import DataDirectory
from kubernaut.embedded.errors import ProcessFailed
from kubernaut.embedded.ports import HOST, is_in_use
from kubernaut.embedded.postgres import Postgres
from kubernaut.embedded.process import Process, ProcessSpec, open_process
from kubernaut.embedded.secret_files import write_secret
from kubernaut.embedded.valkey import Valkey
from kubernaut.signalprocessing import signal_mode

_PROBE_TIMEOUT = 2.0  # seconds
_LOGGING = {"level": "INFO", "format": "json"}
Settings = dict[str, Any]

SHADOW = "next.rego"
"""The file beside the policy that decides beside it, once it is there."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One of our services, and what to write into its configuration file."""

    name: str
    """The name in messages."""
    command: str
    """`kubernaut COMMAND --config FILE` starts it; its files are in the subdirectory of this name."""
    settings: Callable[[int, Path], Settings]
    """The configuration for a port, 0 for any, and the file into which the service writes its address."""


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """A service that is ready."""

    url: str
    process: Process


@dataclass(frozen=True, kw_only=True)
class DataStorageFiles:
    """The files that DataStorage reads."""

    database_password: Path
    key: Path
    """Signs the ledger."""
    origin: str = ""
    """The name of the ledger in its checkpoints; empty: DataStorage makes one for the database."""
    queue_password: Path | None = None


def datastorage(database: Postgres, name: str, queue: Valkey | None, files: DataStorageFiles) -> Service:
    """The audit service on one database of a server; with a queue it takes events while PostgreSQL does not."""

    def settings(port: int, port_file: Path) -> Settings:
        always = {
            "server": {
                "host": HOST,
                "port": port,
                "portFile": str(port_file),
                # No load balancer has to notice first.
                "endpointPropagationDelay": "0s",
                "shutdownTimeout": "5s",
            },
            "database": {
                "host": database.host,
                "port": database.port,
                "name": name,
                "user": database.user,
                "passwordFile": str(files.database_password),
                "sslMode": "disable",
            },
            "ledger": {"keyFile": str(files.key), "origin": files.origin},
            "logging": _LOGGING,
        }
        if queue is None:
            return always
        dead_letters = {
            "host": queue.host,
            "port": queue.port,
            "passwordFile": str(files.queue_password),
            # What is left waits on disk for the next start.
            "drainTimeout": "3s",
        }
        return {**always, "deadLetterQueue": dead_letters}

    return Service(name="DataStorage", command="datastorage", settings=settings)


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """The settings that the controller and the gateway share."""

    kubeconfig: Path
    namespace: str
    """The namespace of signals."""
    datastorage_url: str
    spools: Path
    """The directory of the audit spools, one for each service."""
    has_own_api_server: bool = True
    """Whether nobody else needs the API server, so that nothing limits what the services write to it."""

    @property
    def write_limit(self) -> Settings:
        """What the services are told about their writes; the default limit where this is empty."""
        return {"maxWritesPerSecond": 0} if self.has_own_api_server else {}


def controller(common: CommonSettings, policy: Path) -> Service:
    """The controller, with a directory that holds its policy."""

    def settings(port: int, port_file: Path) -> Settings:
        address = f"{HOST}:{port}"
        return {
            "kubeconfig": str(common.kubeconfig),
            "controller": {
                "metricsAddr": address,
                "healthProbeAddr": address,
                "portFile": str(port_file),
                "namespace": common.namespace,
                **common.write_limit,
            },
            "classifier": {
                "policyDir": str(policy),
                "signalModes": str(policy / signal_mode.FILE),
                # Not there until somebody tries a policy in the shadow of the one in force.
                "shadow": str(policy / SHADOW),
            },
            "datastorage": _datastorage_client(common, "controller"),
            "logging": _LOGGING,
        }

    return Service(name="controller", command="controller", settings=settings)


def gateway(common: CommonSettings) -> Service:
    """The gateway in front of one cluster."""

    def settings(port: int, port_file: Path) -> Settings:
        return {
            "kubeconfig": str(common.kubeconfig),
            "server": {"host": HOST, "port": port, "portFile": str(port_file), "shutdownTimeout": "3s"},
            "intake": {"namespace": common.namespace, **common.write_limit},
            "datastorage": _datastorage_client(common, "gateway"),
            "logging": _LOGGING,
        }

    return Service(name="gateway", command="gateway", settings=settings)


def _datastorage_client(common: CommonSettings, service: str) -> Settings:
    # What is not delivered by then stays in the spool for the next start.
    return {"url": common.datastorage_url, "spoolDir": str(common.spools / service), "drainTimeout": "3s"}


@asynccontextmanager
async def open_service(
    service: Service, directory: DataDirectory, env: Mapping[str, str]
) -> AsyncIterator[RunningService]:
    """Run a service until the block ends, on the port that it had before if that is free."""
    saved = directory.saved_port(service.command)
    port = 0 if saved and is_in_use(saved) else saved
    async with AsyncExitStack() as stack:
        try:
            process = await stack.enter_async_context(open_process(_spec(service, directory, env, port)))
        except ProcessFailed:
            # Another process may have bound the port since the check above.
            if port == 0 or not is_in_use(port):
                raise
            process = await stack.enter_async_context(open_process(_spec(service, directory, env, 0)))
        address = _port_file(service, directory).read_text().strip()
        bound = int(address.rpartition(":")[2])
        directory.save_port(service.command, bound)
        # Should it be restarted, others know it by this port.
        _write_config(service, directory, bound)
        yield RunningService(url=f"http://{address}", process=process)


def _spec(service: Service, directory: DataDirectory, env: Mapping[str, str], port: int) -> ProcessSpec:
    files = directory.subdirectory(service.command)
    port_file = _port_file(service, directory)
    config = _write_config(service, directory, port)

    async def forget_address() -> None:
        port_file.unlink(missing_ok=True)

    port_file.unlink(missing_ok=True)

    async def is_ready(process: Process) -> bool:
        return port_file.exists() and await _is_ready(f"http://{port_file.read_text().strip()}/readyz")

    return ProcessSpec(
        name=service.name,
        command=[*_program(), service.command, "--config", config],
        log=files / f"{service.command}.log",
        ready=is_ready,
        ready_timeout=60.0,
        # A variable such as KUBERNAUT_DATASTORAGE__SERVER__PORT would override the file.
        env={name: value for name, value in env.items() if not name.startswith("KUBERNAUT_")},
        cwd=files,
        before_restart=forget_address,
    )


def _write_config(service: Service, directory: DataDirectory, port: int) -> Path:
    config = directory.subdirectory(service.command) / "config.yaml"
    settings = service.settings(port, _port_file(service, directory))
    write_secret(config, yaml.safe_dump(settings, sort_keys=False))
    return config


def _port_file(service: Service, directory: DataDirectory) -> Path:
    return directory.subdirectory(service.command) / "address"


def _program() -> list[str]:
    """The command `kubernaut` of this installation."""
    script = Path(sys.executable).with_name("kubernaut")
    if os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-c", "from kubernaut.cli import main; main()"]


async def _is_ready(url: str) -> bool:
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_PROBE_TIMEOUT) as client:
            return (await client.get(url)).is_success
    except httpx2.HTTPError:
        return False
