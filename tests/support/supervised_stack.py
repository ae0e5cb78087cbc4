"""Every component of the system as a process that is restarted when it dies, as a cluster would do it.

`kubernaut up` ends when one of its components dies. Here each is restarted, on its old address and its old data, so
that a test can kill one after the other and check how the others react.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType
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
from kubernaut.embedded.secret_files import ensure_signing_key
from kubernaut.embedded.services import CommonSettings, DataStorageFiles, Service, open_service
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.objects import Kind
from kubernaut.signalprocessing import default_policy

HOME = "kubernaut-system"
NAMESPACES: Kind[Any] = Kind(version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=dict)
_DATABASE = "kubernaut"


@dataclass
class Component:
    """One component of the system, and its supervisor."""

    name: str
    opening: Callable[[], AbstractAsyncContextManager[Any]]
    process_of: Callable[[Any], Process] = lambda opened: opened.process
    running: Any = None
    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    max_failed_starts: int = 20
    """Failed starts in a row after which it is given up."""
    restart_delay: float = 0.0
    """Seconds after a failed start."""

    async def run(self) -> None:
        """Keep it running until cancelled; gives up after too many failed starts."""
        failed_starts = 0
        self.may_start.set()
        # muster: ignore[M303] it supervises until it is cancelled, and gives up after max_failed_starts
        while True:
            await self.may_start.wait()
            try:
                async with self.opening() as self.running:
                    failed_starts = 0
                    self.is_up.set()
                    await self.process_of(self.running).wait()
                    self.is_up.clear()
            except EmbeddedError:
                # Its dependencies may be down as well.
                self.is_up.clear()
                failed_starts += 1
                if failed_starts == self.max_failed_starts:
                    raise
                await asyncio.sleep(self.restart_delay)

    @property
    def pid(self) -> int:
        return self.process_of(self.running).pid

    def kill(self) -> None:
        """Send SIGKILL; it is not up from now on until it has been restarted."""
        self.is_up.clear()
        os.kill(self.pid, signal.SIGKILL)

    @asynccontextmanager
    async def down(self, how: signal.Signals = signal.SIGKILL) -> AsyncIterator[None]:
        """Stopped inside the block, and started again after it."""
        process = self.process_of(self.running)
        self.may_start.clear()
        self.is_up.clear()
        os.kill(process.pid, how)
        async with asyncio.timeout(20):
            await process.wait()
        try:
            yield
        finally:
            self.may_start.set()


@dataclass
class SupervisedStack:
    """The whole system, and a client of its Kubernetes API."""

    directory: DataDirectory
    policy: Path
    client: Client
    components: dict[str, Component]

    def __getitem__(self, name: str) -> Component:
        return self.components[name]

    @property
    def datastorage(self) -> str:
        return self.components["datastorage"].running.url

    @property
    def webhook(self) -> str:
        return self.components["gateway"].running.url + "/api/v1/signals/prometheus"

    @property
    def database(self) -> str:
        return self.components["postgres"].running.url(_DATABASE)

    async def all_up(self) -> None:
        async with asyncio.timeout(90):
            for component in self.components.values():
                await component.is_up.wait()

    def log_of(self, name: str) -> str:
        return (self.directory.path / name / f"{name}.log").read_text()


async def _same_kubeconfig(kubeconfig: Path) -> Path:
    return kubeconfig


async def _same_settings(common: CommonSettings) -> CommonSettings:
    return common


@dataclass(frozen=True, kw_only=True)
class ControllerOptions:
    """What is special about the controllers of a stack."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the section `controller`."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """Further sections of the configuration."""
    env: Callable[[int], Mapping[str, str]] = lambda _: {}
    """Additional environment of each controller, by its number."""
    kubeconfig: Callable[[Path], Awaitable[Path]] = _same_kubeconfig
    """The kubeconfig that the controllers use, from the API server's own."""
    policy: str = ""
    """The text of the policy; empty takes the default one."""


@asynccontextmanager
async def open_supervised_stack(
    path: Path,
    *,
    controllers: int = 1,
    durable: bool = True,
    options: ControllerOptions = ControllerOptions(),
    change_settings: Callable[[CommonSettings], Awaitable[CommonSettings]] = _same_settings,
) -> AsyncIterator[SupervisedStack]:
    """Start everything; stop it all at the end. `change_settings` sees those of the gateway and the controllers."""
    with open_directory(path / "data") as directory:
        components: dict[str, Component] = {}
        async with asyncio.TaskGroup() as tasks:
            supervisors: list[asyncio.Task[None]] = []

            async def add(name: str, component: Component) -> Component:
                components[name] = component
                supervisors.append(tasks.create_task(component.run(), name=f"supervise-{name}"))
                async with asyncio.timeout(60):
                    await component.is_up.wait()
                return component

            try:
                postgres = await add("postgres", _postgres(directory, durable))
                await _make_database(postgres)
                await add("apiserver", _kubernetes(directory))
                kubeconfig = components["apiserver"].running.kubeconfig
                settings = ClientConfig(kubeconfig=kubeconfig, field_manager="test")
                async with open_client(settings) as client:
                    await ensure_crds(client, all_crds())
                    await client.create(NAMESPACES, {"metadata": {"name": HOME}})
                    stack = SupervisedStack(directory, directory.subdirectory("policy"), client, components)
                    password = directory.subdirectory("postgres") / "password"
                    key = ensure_signing_key(directory.subdirectory("datastorage") / "ledger.key", "test.local/ledger")
                    files = DataStorageFiles(database_password=password, key=key)
                    # Without a queue: what these tests are about is the spools, which wait when PostgreSQL is gone.
                    store = services.datastorage(postgres.running, _DATABASE, None, files)
                    await add("datastorage", _service(store, directory))
                    common = CommonSettings(
                        kubeconfig=kubeconfig,
                        namespace=HOME,
                        datastorage_url=stack.datastorage,
                        spools=directory.subdirectory("spools"),
                    )
                    common = await change_settings(common)
                    await add("gateway", _service(services.gateway(common), directory))
                    _write_policy(stack.policy, options.policy)
                    common = replace(common, kubeconfig=await options.kubeconfig(common.kubeconfig))
                    for number in range(controllers):
                        await add(*_controller(common, stack.policy, directory, number, options))
                    yield stack
            finally:
                # Whoever needs another component stops before it.
                for supervisor in reversed(supervisors):
                    supervisor.cancel()
                    with suppress(asyncio.CancelledError):
                        await supervisor


def _postgres(directory: DataDirectory, durable: bool) -> Component:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        where, port = directory.subdirectory("postgres"), directory.saved_port("postgres")
        async with open_postgres(PostgresConfig(directory=where, env=os.environ, port=port, durable=durable)) as server:
            directory.save_port("postgres", server.port)
            yield server

    return Component("postgres", opening)


def _kubernetes(directory: DataDirectory) -> Component:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        where, port = directory.subdirectory("kubernetes"), directory.saved_port("kubernetes")
        async with open_kubernetes(KubernetesConfig(directory=where, env={}, port=port)) as api:
            yield api

    return Component("apiserver", opening, lambda api: api.processes[-1])


def _service(service: Service, directory: DataDirectory, env: Mapping[str, str] = MappingProxyType({})) -> Component:
    return Component(service.command, lambda: open_service(service, directory, {**os.environ, **env}))


def _with_options(service: Service, options: ControllerOptions) -> Service:
    def settings(port: int, port_file: Path) -> services.Settings:
        written = service.settings(port, port_file)
        return {**written, **options.sections, "controller": {**written["controller"], **options.settings}}

    return replace(service, settings=settings)


def _controller(
    common: CommonSettings, policy: Path, directory: DataDirectory, number: int, options: ControllerOptions
) -> tuple[str, Component]:
    env = options.env(number)
    if number == 0:
        return "controller", _service(_with_options(services.controller(common, policy), options), directory, env)
    # Files of its own, as on another node.
    other = DataDirectory(path=directory.subdirectory(f"node-{number}"))
    elsewhere = replace(common, spools=other.subdirectory("spools"))
    service = _with_options(services.controller(elsewhere, policy), options)
    return f"controller-{number}", _service(service, other, env)


def _write_policy(directory: Path, text: str) -> None:
    text = text or resources.files(default_policy).joinpath("policy.rego").read_text()
    (directory / "policy.rego").write_text(text)


async def _make_database(postgres: Component) -> None:
    connection = await asyncpg.connect(postgres.running.url("postgres"), timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {_DATABASE}")
    finally:
        await connection.close()
    await migrate(postgres.running.url(_DATABASE))
