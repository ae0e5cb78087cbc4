"""Everything that takes part in a history, as processes that are restarted when they die, with proxies in between."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from faults import clients, clocks, disks
from faults.clocks import Clock
from faults.disks import Disk
from faults.histories import POSTGRES, VALKEY, ClientPlan, History
from faults.histories import replica as replica_name
from faults.proxies import Link, open_proxy
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded import services
from kubernaut.embedded.directory import DataDirectory, open_directory
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.embedded.process import Process, ProcessSpec, open_process
from kubernaut.embedded.secret_files import ensure_signing_key, write_secret
from kubernaut.embedded.services import DataStorageFiles, Service, open_service
from kubernaut.embedded.valkey import ValkeyConfig, open_valkey
from support.supervised_stack import Component

DATABASE = "kubernaut"
ROLE = "kubernaut"
"""What DataStorage logs in as: an ordinary role, so that a limit of connections holds for it."""

POSTGRES_BYTES, VALKEY_BYTES, SPOOL_BYTES = 160 * 2**20, 8 * 2**20, 3 * 2**20
WRITE_INTERVAL = 0.04  # seconds
MAX_FAILED_STARTS = 200
START_TIMEOUT = 60  # seconds
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Template:
    """What is made once and copied for each history."""

    directory: Path
    role_password: str
    library: Path | None
    """For clocks that jump."""
    has_disks: bool


@dataclass(kw_only=True)
class Stack:
    """The processes of one history, by name, and what a fault takes hold of."""

    directory: DataDirectory
    components: dict[str, Component] = field(default_factory=dict)
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    clocks: dict[str, Clock] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The URL by which a DBA connects, past every proxy."""
        url: str = self.components[POSTGRES].running.url(DATABASE)
        return url

    @property
    def valkey(self) -> str:
        url: str = self.components[VALKEY].running.url()
        return url

    def replicas(self) -> list[str]:
        """The URLs of the DataStorage processes that are up."""
        return [
            component.running.url
            for name, component in self.components.items()
            if name.startswith("datastorage") and component.is_up.is_set()
        ]

    def pids(self) -> list[int]:
        """The processes that are or were up."""
        return [component.pid for component in self.components.values() if component.running is not None]

    def files_of(self, client: str) -> Path:
        return self.directory.path / client

    def env_of(self, name: str) -> dict[str, str]:
        return self.clocks[name].env if name in self.clocks else {}


async def make_template(directory: Path) -> Template:
    """A PostgreSQL with a migrated database, and what this machine allows."""
    server_directory = directory / POSTGRES
    async with open_postgres(PostgresConfig(directory=server_directory, env=os.environ, durable=False)) as server:
        connection = await asyncpg.connect(server.url("postgres"), timeout=10)
        try:
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{server.password}'")
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        finally:
            await connection.close()
        await migrate(replace(server, user=ROLE).url(DATABASE))
        password = server.password
    write_secret(directory / "role-password", password)
    return Template(
        directory=directory,
        role_password=password,
        library=clocks.compile_library(directory),
        has_disks=disks.can_mount(directory),
    )


@asynccontextmanager
async def open_stack(history: History, template: Template, path: Path) -> AsyncIterator[Stack]:
    """Start everything but the clients' writing; stop it all at the end."""
    with open_directory(path) as directory:
        async with AsyncExitStack() as exits, asyncio.TaskGroup() as tasks:
            stack = Stack(directory=directory)
            supervisors: list[asyncio.Task[None]] = []

            async def start(*components: Component) -> None:
                for component in components:
                    component.max_failed_starts = MAX_FAILED_STARTS
                    component.restart_delay = 0.05
                    stack.components[component.name] = component
                    supervisors.append(tasks.create_task(component.run(), name=f"supervise-{component.name}"))
                async with asyncio.timeout(START_TIMEOUT):
                    for component in components:
                        await component.is_up.wait()

            try:
                _prepare_disks(stack, history, template, exits)
                await start(_postgres(directory), _valkey(directory))
                await start(*[await _replica(stack, history, template, exits, n) for n in range(history.replicas)])
                await start(*[await _client(stack, history, plan, exits) for plan in history.clients])
                yield stack
            finally:
                # Whoever needs another process stops before it.
                for supervisor in reversed(supervisors):
                    supervisor.cancel()
                    with suppress(asyncio.CancelledError):
                        await supervisor


def _prepare_disks(stack: Stack, history: History, template: Template, exits: AsyncExitStack) -> None:
    directory = stack.directory
    sizes = {POSTGRES: POSTGRES_BYTES, VALKEY: VALKEY_BYTES}
    sizes |= {client.name: SPOOL_BYTES for client in history.clients if client.has_spool}
    for name, size in sizes.items():
        data = directory.subdirectory(name) / ("spool" if name.startswith("client") else "data")
        if template.has_disks:
            stack.disks[name] = exits.enter_context(disks.mounted(data, size))
    source, target = template.directory / POSTGRES, directory.subdirectory(POSTGRES)
    (target / "data").mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True, timeout=60)
    for name in [*map(replica_name, range(history.replicas)), *(client.name for client in history.clients)]:
        if template.library is not None:
            stack.clocks[name] = clocks.new_clock(template.library, directory.subdirectory(name) / "clock")


def _postgres(directory: DataDirectory) -> Component:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        where, port = directory.subdirectory(POSTGRES), directory.saved_port(POSTGRES)
        async with open_postgres(PostgresConfig(directory=where, env=os.environ, port=port)) as server:
            directory.save_port(POSTGRES, server.port)
            yield server

    return Component(POSTGRES, opening)


def _valkey(directory: DataDirectory) -> Component:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        where, port = directory.subdirectory(VALKEY), directory.saved_port(VALKEY)
        async with open_valkey(ValkeyConfig(directory=where, env=os.environ, port=port)) as server:
            directory.save_port(VALKEY, server.port)
            yield server

    return Component(VALKEY, opening)


async def _replica(stack: Stack, history: History, template: Template, exits: AsyncExitStack, number: int) -> Component:
    name = replica_name(number)
    database, queue = stack.components[POSTGRES].running, stack.components[VALKEY].running
    ports = {}
    for target in (POSTGRES, VALKEY):
        link = stack.links[name, target] = Link(port=_port_of(stack, target))
        ports[target] = (await exits.enter_async_context(open_proxy(link))).port
    # Files of its own, as on another node; the key is the same everywhere.
    directory = DataDirectory(path=stack.directory.subdirectory(name))
    key = ensure_signing_key(stack.directory.path / "ledger.key", "faults.local/ledger")
    files = DataStorageFiles(
        database_password=template.directory / "role-password",
        key=key,
        queue_password=stack.directory.path / VALKEY / "password",
    )
    service = services.datastorage(
        replace(database, port=ports[POSTGRES], user=ROLE), DATABASE, replace(queue, port=ports[VALKEY]), files
    )
    service = replace(service, settings=_impatient(service, history))
    return Component(name, lambda: open_service(service, directory, os.environ | stack.env_of(name)))


def _impatient(service: Service, history: History) -> Callable[[int, Path], services.Settings]:
    """The settings of a service with short time-outs, so that a history shows what follows from them."""
    more = {
        "server": {"shutdownTimeout": "2s"},
        "database": {
            "statementTimeout": f"{history.statement_timeout}s",
            "lockTimeout": f"{history.lock_timeout}s",
            "connectTimeout": "2s",
            "connectInterval": "100ms",
        },
        "ledger": {"shards": history.shards, "checkpointInterval": "300ms"},
        "deadLetterQueue": {"timeout": "1s", "writeTimeout": "1500ms", "retryInterval": "100ms", "drainTimeout": "1s"},
    }

    def settings(port: int, port_file: Path) -> services.Settings:
        written = service.settings(port, port_file)
        return written | {section: written.get(section, {}) | values for section, values in more.items()}

    return settings


async def _client(stack: Stack, history: History, plan: ClientPlan, exits: AsyncExitStack) -> Component:
    links = []
    for number in range(history.replicas):
        link = stack.links[plan.name, replica_name(number)] = Link(port=_port_of(stack, replica_name(number)))
        links.append(link)
    proxy = await exits.enter_async_context(open_proxy(*links, max_lifetime=history.connection_lifetime))
    files = stack.directory.subdirectory(plan.name)
    config = clients.Config(
        name=plan.name,
        url=f"http://127.0.0.1:{proxy.port}",
        has_spool=plan.has_spool,
        writers=plan.writers,
        correlations=list(plan.correlations),
        interval=WRITE_INTERVAL,
        spool=str(files / "spool" / "events"),
        files=str(files),
    )
    (files / "config").write_bytes(msgspec.json.encode(config))

    async def is_ready(process: Process) -> bool:
        ready = files / "ready"
        return ready.exists() and ready.read_text() == str(process.pid)

    spec = ProcessSpec(
        name=plan.name,
        command=[sys.executable, "-m", "faults.clients", files / "config"],
        log=files / "client.log",
        ready=is_ready,
        ready_timeout=20.0,
        extra_env=stack.env_of(plan.name),
        cwd=_ROOT,
    )
    return Component(plan.name, lambda: open_process(spec), lambda process: process)


def _port_of(stack: Stack, name: str) -> Callable[[], int]:
    def port() -> int:
        component = stack.components.get(name)
        if component is None or not component.is_up.is_set():
            return 0
        running = component.running
        return running.port if hasattr(running, "port") else int(running.url.rpartition(":")[2])

    return port


def keep_logs(path: Path, kept: Path) -> None:
    """Copy what tells of a history to where it stays: logs, configurations and what was acknowledged."""
    for source in path.rglob("*"):
        is_telling = source.suffix in {".log", ".yaml"} or source.name in {"acknowledged", "report", "config"}
        if is_telling and source.is_file():
            target = kept / source.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
