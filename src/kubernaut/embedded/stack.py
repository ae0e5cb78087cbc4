"""Everything on this machine, in one data directory: `kubernaut up` and `kubernaut demo`.

    async with open_stack(StackConfig(), print) as stack:
        print(stack.webhook)

PostgreSQL, Valkey and the Kubernetes API start concurrently; each of our services starts as soon as its dependencies
are ready, by its production command. They stop in reverse order. If this process is killed, the kernel kills them.
If one of them exits, `Stack.supervise` starts it again; `Stack.raise_on_exit` raises an error that names it and shows
the end of its log. An error that leaves the block after a process has exited is replaced by that one, because it is
most likely its consequence.
"""

import asyncio
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NoReturn

from kubernaut.embedded import services, supervision
from kubernaut.embedded.directory import (
    DataDirectory,
    open_default_directory,
    open_directory,
    open_temporary_directory,
)
from kubernaut.embedded.errors import NoFreePort
from kubernaut.embedded.kubernetes import Kubernetes, KubernetesConfig, open_kubernetes
from kubernaut.embedded.ports import HOST, reserved_port
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres
from kubernaut.embedded.process import Process
from kubernaut.embedded.secret_files import ensure_signing_key
from kubernaut.embedded.services import CommonSettings, DataStorageFiles, RunningService, Service, open_service
from kubernaut.embedded.valkey import Valkey, ValkeyConfig, open_valkey
from kubernaut.ops.tasks import first_error
from kubernaut.signalprocessing import default_policy, signal_mode

NAMESPACE = "kubernaut-system"
DATABASE = "kubernaut"
_LEDGERS = "kubernaut.local/ledger"
"""What the origins of the ledgers of embedded stacks begin with."""
_WEBHOOK = "/api/v1/signals/prometheus"
_POLICY_FILE = "policy.rego"

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
    kubeconfig: Path | Sequence[Path] | None = None
    """An existing cluster: a file, or several that are merged as kubectl does; None runs a Kubernetes API here."""
    context: str | None = None
    """The context of `kubeconfig`; None is the current one of when the stack starts."""
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

    async def supervise(self, report: Progress) -> NoReturn:
        """Restart each process that exits, and report it. Raises `ProcessFailed` for one that keeps exiting."""
        try:
            await supervision.supervise(self.processes, report)
        except BaseExceptionGroup as group:
            raise first_error(group) from None
        raise AssertionError("supervision has no end")

    def check(self) -> None:
        """Raise `ProcessFailed` for the first process that has exited."""
        _check(self.processes)


@asynccontextmanager
async def open_stack(config: StackConfig, progress: Progress = lambda description: None) -> AsyncIterator[Stack]:
    """Start everything, and stop it when the block ends. Raises `EmbeddedError` or `KubeError`.

    `progress` is called with a description of each component that has become ready.
    """
    async with AsyncExitStack() as exits, AsyncExitStack() as clients:
        directory = exits.enter_context(_directory(config, progress))
        startup = _Startup(config, directory, _Exits(servers=exits, clients=clients), progress)
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


@dataclass(frozen=True, kw_only=True)
class _Exits:
    """Where what was opened is closed: clients of DataStorage first, whichever was ready first."""

    servers: AsyncExitStack
    clients: AsyncExitStack


class _Startup:
    """One start of a stack; whatever it opens is closed with `exits`."""

    def __init__(self, config: StackConfig, directory: DataDirectory, exits: _Exits, progress: Progress) -> None:
        self._config = config
        self._directory = directory
        self._exits = exits
        self._progress = progress
        self._processes: list[Process] = []
        self._origin = ""  # of the ledger; known when PostgreSQL is ready

    def check(self) -> None:
        """Raise `ProcessFailed` for the first process that was ready and has exited."""
        _check(self._processes)

    async def run(self) -> Stack:
        # Known before DataStorage listens, so that the services that use it start at the same time. They wait for
        # PostgreSQL, whose start is the longest and would be slowed by them on a machine with two cores.
        port = self._exits.servers.enter_context(reserved_port(self._directory.saved_port("datastorage")))
        self._directory.save_port("datastorage", port)
        async with asyncio.TaskGroup() as tasks:
            postgres = tasks.create_task(self._postgres())
            valkey = tasks.create_task(self._valkey())
            kubernetes = tasks.create_task(self._kubernetes())
            datastorage = tasks.create_task(self._datastorage(postgres, valkey, port))
            common = tasks.create_task(self._common_settings(kubernetes, postgres, port))
            gateway = tasks.create_task(self._gateway(common))
            controller = tasks.create_task(self._controller(common))
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
            postgres_url=postgres.result().url(DATABASE),
            valkey_url=valkey.result().url(),
            processes=tuple(self._processes),
        )

    async def _postgres(self) -> Postgres:
        config = PostgresConfig(
            directory=self._directory.subdirectory("postgres"),
            env=self._config.env,
            port=self._directory.saved_port("postgres"),
        )
        server = await self._exits.servers.enter_async_context(open_postgres(config))
        self._directory.save_port("postgres", server.port)
        self._processes.append(server.process)
        # Imported while the servers start: it takes as long as a quarter of their start.
        from kubernaut.embedded.preparation import prepare_database

        self._origin = await prepare_database(server, DATABASE) or _new_origin()
        self._progress(f"PostgreSQL on {server.host}:{server.port}")
        return server

    async def _valkey(self) -> Valkey:
        config = ValkeyConfig(
            directory=self._directory.subdirectory("valkey"),
            env=self._config.env,
            port=self._directory.saved_port("valkey"),
        )
        server = await self._exits.servers.enter_async_context(open_valkey(config))
        self._directory.save_port("valkey", server.port)
        self._processes.append(server.process)
        self._progress(f"Valkey on {server.host}:{server.port}")
        return server

    async def _kubernetes(self) -> Kubernetes:
        config = KubernetesConfig(
            directory=self._directory.subdirectory("kubernetes"),
            env=self._config.env,
            kubeconfig=self._config.kubeconfig,
            context=self._config.context,
            port=self._directory.saved_port("kubernetes"),
        )
        api = await self._exits.servers.enter_async_context(open_kubernetes(config))
        if api.port:
            self._directory.save_port("kubernetes", api.port)
        self._processes.extend(api.processes)
        # Imported while the servers start: it takes as long as a quarter of their start.
        from kubernaut.embedded.preparation import prepare_cluster

        await prepare_cluster(api.kubeconfig, NAMESPACE)
        self._progress(f"Kubernetes: {api.description}")
        return api

    async def _datastorage(
        self, postgres: asyncio.Task[Postgres], valkey: asyncio.Task[Valkey], port: int
    ) -> RunningService:
        database, queue = await postgres, await valkey
        files = DataStorageFiles(
            database_password=self._directory.subdirectory("postgres") / "password",
            queue_password=self._directory.subdirectory("valkey") / "password",
            key=ensure_signing_key(self._directory.subdirectory("datastorage") / "ledger.key", self._origin),
            origin=self._origin,
        )
        service = services.datastorage(database, DATABASE, queue, files)
        running = await self._service(service, self._exits.servers)
        if running.url != _url(port):
            raise NoFreePort(f"another program took port {port} of {HOST} while DataStorage started: start again")
        return running

    async def _gateway(self, common: asyncio.Task[CommonSettings]) -> RunningService:
        return await self._service(services.gateway(await common), self._exits.clients)

    async def _controller(self, common: asyncio.Task[CommonSettings]) -> RunningService:
        service = services.controller(await common, _policy(self._directory))
        return await self._service(service, self._exits.clients)

    async def _common_settings(
        self, kubernetes: asyncio.Task[Kubernetes], postgres: asyncio.Task[Postgres], datastorage_port: int
    ) -> CommonSettings:
        await postgres
        api = await kubernetes
        return CommonSettings(
            kubeconfig=api.kubeconfig,
            namespace=NAMESPACE,
            datastorage_url=_url(datastorage_port),
            spools=self._directory.subdirectory("spools"),
            has_own_api_server=bool(api.processes),
        )

    async def _service(self, service: Service, exits: AsyncExitStack) -> RunningService:
        opening = open_service(service, self._directory, self._config.env)
        running = await exits.enter_async_context(opening)
        self._processes.append(running.process)
        self._progress(f"{service.name} on {running.url}")
        return running


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


def _new_origin() -> str:
    """The origin of a ledger that begins now: no other one has it, and the machine is known by it."""
    machine = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")
    return f"{_LEDGERS}/{machine or 'machine'}-{secrets.token_hex(4)}"


@contextmanager
def _directory(config: StackConfig, report: Progress) -> Iterator[DataDirectory]:
    if config.directory is not None:
        opening = open_directory(config.directory)
    elif config.temporary:
        opening = open_temporary_directory()
    else:
        opening = open_default_directory(config.env, report)
    with opening as directory:
        yield directory


def _check(processes: Iterable[Process]) -> None:
    for process in processes:
        if not process.is_running:
            raise process.exit_error("exited unexpectedly")


def _policy(directory: DataDirectory) -> Path:
    """A directory with policy and signal modes, which the user may edit while the controller runs."""
    path = directory.subdirectory("policy")
    if not any(path.iterdir()):
        for name in (_POLICY_FILE, signal_mode.FILE):
            with resources.as_file(resources.files(default_policy) / name) as original:
                shutil.copyfile(original, path / name)
    return path
