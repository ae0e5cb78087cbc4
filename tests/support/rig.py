"""Every part of the system as a process that is started again when it dies, as a cluster would do it.

`kubernaut up` ends when one of its parts dies. Here each part comes back, on its old address and its old data, so that
a test can kill one after the other and look at what the others make of it.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg

from kubernaut.api.crds import all_crds
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded import services
from kubernaut.embedded.directory import DataDirectory, open_directory
from kubernaut.embedded.errors import EmbeddedError
from kubernaut.embedded.kubernetes import KubernetesConfig, open_kubernetes
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.embedded.process import Process
from kubernaut.embedded.services import Service, Surroundings, open_service
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.objects import Kind
from kubernaut.signalprocessing import default_policy

HOME = "kubernaut-system"
NAMESPACES: Kind[Any] = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict)
_DATABASE = "kubernaut"
_TRIES = 20


@dataclass
class Part:
    """One part of the system, and whoever starts it again."""

    name: str
    opening: Callable[[], AbstractAsyncContextManager[Any]]
    process_of: Callable[[Any], Process] = lambda opened: opened.process
    running: Any = None
    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    may_start: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep it running until cancelled; gives up after too many starts in vain."""
        in_vain = 0
        self.may_start.set()
        while True:
            await self.may_start.wait()
            try:
                async with self.opening() as self.running:
                    in_vain = 0
                    self.is_up.set()
                    await self.process_of(self.running).ended()
                    self.is_up.clear()
            except EmbeddedError:
                # As what it needs is down as well, perhaps.
                self.is_up.clear()
                in_vain += 1
                if in_vain == _TRIES:
                    raise

    @property
    def pid(self) -> int:
        return self.process_of(self.running).pid

    def kill(self) -> None:
        """As `kill -9`; it is not up from now on until it has come back."""
        self.is_up.clear()
        os.kill(self.pid, signal.SIGKILL)

    @asynccontextmanager
    async def down(self, how: signal.Signals = signal.SIGKILL) -> AsyncIterator[None]:
        """Dead inside the block, and started again after it."""
        process = self.process_of(self.running)
        self.may_start.clear()
        self.is_up.clear()
        os.kill(process.pid, how)
        async with asyncio.timeout(20):
            await process.ended()
        try:
            yield
        finally:
            self.may_start.set()


@dataclass
class Rig:
    """The whole system, and a client of its Kubernetes API."""

    directory: DataDirectory
    policy: Path
    client: Client
    parts: dict[str, Part]

    def __getitem__(self, name: str) -> Part:
        return self.parts[name]

    @property
    def datastorage(self) -> str:
        return self.parts["datastorage"].running.url

    @property
    def webhook(self) -> str:
        return self.parts["gateway"].running.url + "/api/v1/signals/prometheus"

    @property
    def database(self) -> str:
        return self.parts["postgres"].running.url(_DATABASE)

    async def all_up(self) -> None:
        async with asyncio.timeout(90):
            for part in self.parts.values():
                await part.is_up.wait()

    def log_of(self, name: str) -> str:
        return (self.directory.path / name / f"{name}.log").read_text()


@asynccontextmanager
async def open_rig(path: Path, *, controllers: int = 1, durable: bool = True) -> AsyncIterator[Rig]:
    """Start everything; stop it all at the end."""
    with open_directory(path / "data") as directory:
        parts: dict[str, Part] = {}
        async with asyncio.TaskGroup() as tasks:
            supervisors: list[asyncio.Task[None]] = []

            async def add(name: str, part: Part) -> Part:
                parts[name] = part
                supervisors.append(tasks.create_task(part.run(), name=f"supervise-{name}"))
                async with asyncio.timeout(60):
                    await part.is_up.wait()
                return part

            try:
                postgres = await add("postgres", _postgres(directory, durable))
                await _make_database(postgres)
                await add("apiserver", _kubernetes(directory))
                kubeconfig = parts["apiserver"].running.kubeconfig
                settings = ClientConfig(kubeconfig=kubeconfig, field_manager="test")
                async with open_client(settings) as client:
                    await ensure_crds(client, all_crds())
                    await client.create(NAMESPACES, {"metadata": {"name": HOME}})
                    rig = Rig(directory, directory.section("policy"), client, parts)
                    password = directory.section("postgres") / "password"
                    store = services.datastorage(postgres.running, password, _DATABASE)
                    await add("datastorage", _service(store, directory))
                    around = Surroundings(
                        kubeconfig=kubeconfig,
                        namespace=HOME,
                        datastorage_url=rig.datastorage,
                        spools=directory.section("spools"),
                    )
                    await add("gateway", _service(services.gateway(around), directory))
                    _default_policy(rig.policy)
                    for number in range(controllers):
                        await add(*_controller(around, rig.policy, directory, number))
                    yield rig
            finally:
                # Whoever needs another part stops before it.
                for supervisor in reversed(supervisors):
                    supervisor.cancel()
                    with suppress(asyncio.CancelledError):
                        await supervisor


def _postgres(directory: DataDirectory, durable: bool) -> Part:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        where, port = directory.section("postgres"), directory.remembered_port("postgres")
        async with open_postgres(PostgresConfig(directory=where, env=os.environ, port=port, durable=durable)) as server:
            directory.remember_port("postgres", server.port)
            yield server

    return Part("postgres", opening)


def _kubernetes(directory: DataDirectory) -> Part:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        where, port = directory.section("kubernetes"), directory.remembered_port("kubernetes")
        async with open_kubernetes(KubernetesConfig(directory=where, env={}, port=port)) as api:
            yield api

    return Part("apiserver", opening, lambda api: api.processes[-1])


def _service(service: Service, directory: DataDirectory) -> Part:
    return Part(service.command, lambda: open_service(service, directory, os.environ))


def _controller(around: Surroundings, policy: Path, directory: DataDirectory, number: int) -> tuple[str, Part]:
    service = services.controller(around, policy)
    if number == 0:
        return "controller", _service(service, directory)
    # Files of its own, as on another node.
    other = DataDirectory(path=directory.section(f"node-{number}"))
    elsewhere = Surroundings(
        kubeconfig=around.kubeconfig,
        namespace=around.namespace,
        datastorage_url=around.datastorage_url,
        spools=other.section("spools"),
    )
    return f"controller-{number}", _service(services.controller(elsewhere, policy), other)


def _default_policy(place: Path) -> None:
    text = resources.files(default_policy).joinpath("policy.rego").read_text()
    (place / "policy.rego").write_text(text)


async def _make_database(postgres: Part) -> None:
    connection = await asyncpg.connect(postgres.running.url("postgres"), timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {_DATABASE}")
    finally:
        await connection.close()
    await migrate(postgres.running.url(_DATABASE))
