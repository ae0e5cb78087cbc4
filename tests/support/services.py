"""Real services for tests: one PostgreSQL and Valkey per run, a Kubernetes API per worker, a database per test.

    async def test_something(postgres_database):          # a URL; the database is empty and this test's own
        connection = await asyncpg.connect(postgres_database)

    async def test_two(new_database):                     # as many as a test wants, also as copies of another one
        first = await new_database()
        second = await new_database(template=first)

    async def test_ledger(migrated_database): ...         # a URL; a database of this test's own with our tables in it

    async def test_queue(valkey_url):                     # a URL with a database number; that database is empty

    def test_cluster(kubernetes): ...                     # path of an administrator's kubeconfig; shared by the
                                                          # worker's tests: make a namespace of your own in it
    def test_signals(kubernetes_with_crds): ...           # the same, with our CRDs established

    def test_outage(postgres): ...                        # the server itself: .url(db), .process.pid
                                                          # never stop this one; open your own with `own_directory`

PostgreSQL and Valkey are started once, before the first test, if a collected test asks for them, and stopped when the
last worker is gone. The Kubernetes API is started when the first test of a worker asks for it.
`own_directory` is an empty directory that other users may enter, which `tmp_path` is not: PostgreSQL started by
root runs as `nobody`.
The Kubernetes API is the embedded server, or the real one of `KUBEBUILDER_ASSETS` if that is set.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import valkey.asyncio

import pytest_muster as muster
from kubernaut.api.crds import all_crds
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.kubernetes import KubernetesConfig, open_kubernetes
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.embedded.valkey import ValkeyConfig, open_valkey
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds

NewDatabase = Callable[..., Awaitable[str]]

_TEMPLATE = "migrated"
_VALKEY_DATABASES = 63  # beside number 0, which is nobody's
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class SharedProcess:
    pid: int


@dataclass(frozen=True, kw_only=True)
class SharedPostgres:
    """The run's PostgreSQL, as a worker sees it."""

    port: int
    password: str
    process: SharedProcess
    host: str
    user: str

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


@dataclass(frozen=True, kw_only=True)
class SharedValkey:
    """The run's Valkey, as a worker sees it."""

    port: int
    password: str
    process: SharedProcess
    host: str

    def url(self, database: int) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/{database}"


@contextmanager
def enterable_directory() -> Iterator[Path]:
    """A new directory that other users may enter; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="kn-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def own_directory() -> Iterator[Path]:
    with enterable_directory() as path:
        yield path


@muster.shared(timeout=120)
async def postgres_server(muster_run: muster.Workspace) -> AsyncIterator[dict[str, Any]]:
    config = PostgresConfig(directory=muster_run.directory / "postgres", env=os.environ, durable=False)
    async with open_postgres(config) as server:
        yield {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "pid": server.process.pid,
        }


@muster.shared(timeout=120)
async def migrated_template(postgres_server: dict[str, Any]) -> str:
    """The name of a database with our tables, to be copied."""
    server = _postgres(postgres_server)
    await _execute(server, f"CREATE DATABASE {_TEMPLATE}")
    await migrate(server.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="session")
def postgres(postgres_server: dict[str, Any]) -> SharedPostgres:
    return _postgres(postgres_server)


def _postgres(published: dict[str, Any]) -> SharedPostgres:
    place = {name: published[name] for name in ("host", "port", "user", "password")}
    return SharedPostgres(process=SharedProcess(pid=published["pid"]), **place)


@pytest.fixture
async def new_database(postgres: SharedPostgres, muster_test: muster.Workspace) -> AsyncIterator[NewDatabase]:
    made: list[str] = []

    async def create(template: str = "template1") -> str:
        """The URL of a new database, a copy of `template` (a name or a URL that nobody is connected to)."""
        name = muster_test.name("test")
        source = urlsplit(template).path.lstrip("/") if "://" in template else template
        await _execute(postgres, f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY FILE_COPY')
        made.append(name)
        return postgres.url(name)

    yield create
    for name in reversed(made):
        await _execute(postgres, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def postgres_database(new_database: NewDatabase) -> str:
    return await new_database()


@pytest.fixture
async def migrated_database(migrated_template: str, new_database: NewDatabase) -> str:
    return await new_database(template=migrated_template)


@muster.shared(timeout=60)
async def shared_valkey(muster_run: muster.Workspace) -> AsyncIterator[dict[str, Any]]:
    config = ValkeyConfig(directory=muster_run.directory / "valkey", env=os.environ, durable=False)
    async with open_valkey(config) as server:
        yield {"host": server.host, "port": server.port, "password": server.password, "pid": server.process.pid}


@pytest.fixture(scope="session")
def valkey_server(shared_valkey: dict[str, Any]) -> SharedValkey:
    place = {name: shared_valkey[name] for name in ("host", "port", "password")}
    return SharedValkey(process=SharedProcess(pid=shared_valkey["pid"]), **place)


@pytest.fixture
async def valkey_url(valkey_server: SharedValkey, muster_worker: muster.Workspace) -> str:
    url = valkey_server.url(_valkey_database(muster_worker))
    client = valkey.asyncio.from_url(url)
    await client.flushdb()
    await client.aclose()
    return url


def _valkey_database(worker: muster.Workspace) -> int:
    """A number from those of this worker; the server has a fixed number of databases."""
    own = _VALKEY_DATABASES // _WORKERS
    if not own:
        raise ValueError(f"{_WORKERS} workers cannot share {_VALKEY_DATABASES} databases of Valkey: use fewer")
    return 1 + (worker.slot - 1) * own + next(_numbers) % own


@muster.worker(timeout=120)
async def kubernetes(muster_worker: muster.Workspace) -> AsyncIterator[Path]:
    env = {name: value for name, value in os.environ.items() if name == "KUBEBUILDER_ASSETS"}
    config = KubernetesConfig(directory=muster_worker.directory / "kubernetes", env=env, durable=False)
    async with open_kubernetes(config) as api:
        yield api.kubeconfig


@pytest.fixture(scope="session")
def kubernetes_with_crds(kubernetes: Path) -> Path:
    async def install() -> None:
        async with open_client(ClientConfig(kubeconfig=kubernetes, field_manager="test")) as client:
            await ensure_crds(client, all_crds())

    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(install())
    return kubernetes


async def _execute(postgres: SharedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.url("postgres"), timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
