"""Everything on this machine, in one data directory: `kubernaut up` and `kubernaut demo`.

    async with open_stack(StackConfig(), print) as stack:
        print(stack.webhook)

PostgreSQL, Valkey and the Kubernetes API start concurrently; each of our services starts as soon as its dependencies
are ready, by its production command. They stop in reverse order. If this process is killed, the kernel kills them.
If one of them exits, `Stack.raise_on_exit` raises an error that names it and shows the end of its log. An error that
leaves the block after a process has exited is replaced by that one, because it is most likely its consequence.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NoReturn

import asyncpg

from kubernaut.api.crds import all_crds
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded import services
from kubernaut.embedded.directory import (
    DataDirectory,
    open_default_directory,
    open_directory,
    open_temporary_directory,
)
from kubernaut.embedded.kubernetes import Kubernetes, KubernetesConfig, open_kubernetes
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres
from kubernaut.embedded.process import Process
from kubernaut.embedded.secret_files import ensure_signing_key
from kubernaut.embedded.services import CommonSettings, DataStorageFiles, RunningService, Service, open_service
from kubernaut.embedded.valkey import Valkey, ValkeyConfig, open_valkey
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.errors import AlreadyExists
from kubernaut.kube.objects import Kind, Unstructured
from kubernaut.ops.tasks import first_error
from kubernaut.signalprocessing import default_policy, signal_mode

NAMESPACE = "kubernaut-system"
_DATABASE = "kubernaut"
_LEDGER_ORIGIN = "kubernaut.local/ledger"
_WEBHOOK = "/api/v1/signals/prometheus"
_POLICY_FILE = "policy.rego"
_NAMESPACES = Kind(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=Unstructured)

Progress = Callable[[str], None]


def _environment() -> dict[str, str]:
    return dict(os.environ)


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """What to start, and where."""

    directory: Path | None = None
    """The data directory; None uses the user's default, or one beside it if that is in use."""
    temporary: bool = False
    """Use a new directory and remove it at the end."""
    kubeconfig: Path | None = None
    """An existing cluster; None runs a Kubernetes API here."""
    env: Mapping[str, str] = field(default_factory=_environment)
    """Where to look for programs, and what the services inherit."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack that is ready, and its addresses."""

    directory: Path
    kubeconfig: Path
    kubernetes: str
    """A description of the Kubernetes API, such as "embedded API server"."""
    namespace: str
    """The namespace of signals."""
    datastorage_url: str
    gateway_url: str
    webhook: str
    """The webhook URL for an Alertmanager."""
    controller_url: str
    policy: Path
    """The policy file, which the controller reads again when it changes."""
    postgres_url: str = field(repr=False)
    valkey_url: str = field(repr=False)
    processes: tuple[Process, ...]
    """Every process that was started."""

    async def raise_on_exit(self) -> NoReturn:
        """Wait until one of the processes exits, then raise `ProcessFailed`, which names it."""
        exits = [asyncio.ensure_future(process.wait()) for process in self.processes]
        try:
            await asyncio.wait(exits, return_when=asyncio.FIRST_COMPLETED)
            self.check()
            raise AssertionError("a process has exited and is running again")
        finally:
            for waiting in exits:
                waiting.cancel()
            await asyncio.gather(*exits, return_exceptions=True)

    def check(self) -> None:
        """Raise `ProcessFailed` for the first process that has exited."""
        _check(self.processes)


@asynccontextmanager
async def open_stack(config: StackConfig, progress: Progress = lambda description: None) -> AsyncIterator[Stack]:
    """Start everything, and stop it when the block ends. Raises `EmbeddedError` or `KubeError`.

    `progress` is called with a description of each component that has become ready.
    """
    async with AsyncExitStack() as exits:
        directory = exits.enter_context(_directory(config))
        startup = _Startup(config, directory, exits, progress)
        try:
            stack = await startup.run()
        except BaseExceptionGroup as group:
            startup.check()
            raise first_error(group) from None
        try:
            yield stack
        except Exception as error:
            try:
                stack.check()
            except Exception as reason:
                raise reason from error
            raise


class _Startup:
    """One start of a stack; whatever it opens is closed with `exits`."""

    def __init__(
        self, config: StackConfig, directory: DataDirectory, exits: AsyncExitStack, progress: Progress
    ) -> None:
        self._config = config
        self._directory = directory
        self._exits = exits
        self._progress = progress
        self._processes: list[Process] = []

    def check(self) -> None:
        """Raise `ProcessFailed` for the first process that was ready and has exited."""
        _check(self._processes)

    async def run(self) -> Stack:
        async with asyncio.TaskGroup() as tasks:
            postgres = tasks.create_task(self._postgres())
            valkey = tasks.create_task(self._valkey())
            kubernetes = tasks.create_task(self._kubernetes())
            datastorage = tasks.create_task(self._datastorage(postgres, valkey))
            gateway = tasks.create_task(self._gateway(kubernetes, datastorage))
            controller = tasks.create_task(self._controller(kubernetes, datastorage))
        return Stack(
            directory=self._directory.path,
            kubeconfig=kubernetes.result().kubeconfig,
            kubernetes=kubernetes.result().description,
            namespace=NAMESPACE,
            datastorage_url=datastorage.result().url,
            gateway_url=gateway.result().url,
            webhook=gateway.result().url + _WEBHOOK,
            controller_url=controller.result().url,
            policy=_policy(self._directory) / _POLICY_FILE,
            postgres_url=postgres.result().url(_DATABASE),
            valkey_url=valkey.result().url(),
            processes=tuple(self._processes),
        )

    async def _postgres(self) -> Postgres:
        config = PostgresConfig(
            directory=self._directory.subdirectory("postgres"),
            env=self._config.env,
            port=self._directory.saved_port("postgres"),
        )
        server = await self._exits.enter_async_context(open_postgres(config))
        self._directory.save_port("postgres", server.port)
        self._processes.append(server.process)
        await _ensure_database(server)
        await migrate(server.url(_DATABASE))
        self._progress(f"PostgreSQL on {server.host}:{server.port}")
        return server

    async def _valkey(self) -> Valkey:
        config = ValkeyConfig(
            directory=self._directory.subdirectory("valkey"),
            env=self._config.env,
            port=self._directory.saved_port("valkey"),
        )
        server = await self._exits.enter_async_context(open_valkey(config))
        self._directory.save_port("valkey", server.port)
        self._processes.append(server.process)
        self._progress(f"Valkey on {server.host}:{server.port}")
        return server

    async def _kubernetes(self) -> Kubernetes:
        config = KubernetesConfig(
            directory=self._directory.subdirectory("kubernetes"),
            env=self._config.env,
            kubeconfig=self._config.kubeconfig,
            port=self._directory.saved_port("kubernetes"),
        )
        api = await self._exits.enter_async_context(open_kubernetes(config))
        if api.port:
            self._directory.save_port("kubernetes", api.port)
        self._processes.extend(api.processes)
        async with open_client(ClientConfig(kubeconfig=api.kubeconfig, field_manager="kubernaut-up")) as client:
            await ensure_crds(client, all_crds())
            with suppress(AlreadyExists):
                await client.create(_NAMESPACES, {"metadata": {"name": NAMESPACE}})
        self._progress(f"Kubernetes: {api.description}")
        return api

    async def _datastorage(self, postgres: asyncio.Task[Postgres], valkey: asyncio.Task[Valkey]) -> RunningService:
        files = DataStorageFiles(
            database_password=self._directory.subdirectory("postgres") / "password",
            queue_password=self._directory.subdirectory("valkey") / "password",
            key=ensure_signing_key(self._directory.subdirectory("datastorage") / "ledger.key", _LEDGER_ORIGIN),
        )
        return await self._service(services.datastorage(await postgres, _DATABASE, await valkey, files))

    async def _gateway(
        self, kubernetes: asyncio.Task[Kubernetes], datastorage: asyncio.Task[RunningService]
    ) -> RunningService:
        return await self._service(services.gateway(await self._common_settings(kubernetes, datastorage)))

    async def _controller(
        self, kubernetes: asyncio.Task[Kubernetes], datastorage: asyncio.Task[RunningService]
    ) -> RunningService:
        common = await self._common_settings(kubernetes, datastorage)
        return await self._service(services.controller(common, _policy(self._directory)))

    async def _common_settings(
        self, kubernetes: asyncio.Task[Kubernetes], datastorage: asyncio.Task[RunningService]
    ) -> CommonSettings:
        return CommonSettings(
            kubeconfig=(await kubernetes).kubeconfig,
            namespace=NAMESPACE,
            datastorage_url=(await datastorage).url,
            spools=self._directory.subdirectory("spools"),
        )

    async def _service(self, service: Service) -> RunningService:
        opening = open_service(service, self._directory, self._config.env)
        running = await self._exits.enter_async_context(opening)
        self._processes.append(running.process)
        self._progress(f"{service.name} on {running.url}")
        return running


@contextmanager
def _directory(config: StackConfig) -> Iterator[DataDirectory]:
    if config.directory is not None:
        opening = open_directory(config.directory)
    elif config.temporary:
        opening = open_temporary_directory()
    else:
        opening = open_default_directory(config.env)
    with opening as directory:
        yield directory


def _check(processes: Iterable[Process]) -> None:
    for process in processes:
        if not process.is_running:
            raise process.exit_error("exited unexpectedly")


async def _ensure_database(server: Postgres) -> None:
    connection = await asyncpg.connect(server.url("postgres"), timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {_DATABASE}")
    except asyncpg.DuplicateDatabaseError:
        pass
    finally:
        await connection.close(timeout=5)


def _policy(directory: DataDirectory) -> Path:
    """A directory with policy and signal modes, which the user may edit while the controller runs."""
    path = directory.subdirectory("policy")
    if not any(path.iterdir()):
        for name in (_POLICY_FILE, signal_mode.FILE):
            with resources.as_file(resources.files(default_policy) / name) as original:
                shutil.copyfile(original, path / name)
    return path
