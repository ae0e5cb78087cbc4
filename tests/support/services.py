"""Real services for tests: one PostgreSQL, Valkey and Kubernetes API per worker, one empty database per test.

    async def test_something(postgres_database):          # a URL; the database is empty and this test's own
        connection = await asyncpg.connect(postgres_database)

    async def test_two(new_database):                     # as many as a test wants, also as copies of another one
        first = await new_database()
        second = await new_database(template=first)

    async def test_queue(valkey_url):                     # a URL with a database number; that database is empty

    def test_cluster(kubernetes): ...                     # path of an administrator's kubeconfig; shared by the
                                                          # worker's tests: make a namespace of your own in it
    def test_signals(kubernetes_with_crds): ...           # the same, with our CRDs established

    def test_outage(postgres): ...                        # the server itself: .url(db), .process.pid
                                                          # never stop this one; open your own with `own_directory`

A service is started when the first test of a worker asks for it, and stopped when the worker ends.
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
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest
import valkey.asyncio

from kubernaut.api.crds import all_crds
from kubernaut.embedded.kubernetes import KubernetesConfig, open_kubernetes
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres
from kubernaut.embedded.valkey import Valkey, ValkeyConfig, open_valkey
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds

NewDatabase = Callable[..., Awaitable[str]]
T = TypeVar("T")

_numbers = itertools.count(1)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with enterable_directory() as path:
        config = PostgresConfig(directory=path, env=os.environ, durable=False)
        with _held(open_postgres(config)) as server:
            yield server


@pytest.fixture
async def new_database(postgres: Postgres) -> AsyncIterator[NewDatabase]:
    made: list[str] = []

    async def create(template: str = "template1") -> str:
        """The URL of a new database, a copy of `template` (a name or a URL that nobody is connected to)."""
        name = f"test_{next(_numbers)}"
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


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Valkey]:
    with (
        enterable_directory() as path,
        _held(open_valkey(ValkeyConfig(directory=path, env=os.environ, durable=False))) as server,
    ):
        yield server


@pytest.fixture
async def valkey_url(valkey_server: Valkey) -> str:
    url = valkey_server.url(1 + next(_numbers) % 63)
    client = valkey.asyncio.from_url(url)
    await client.flushdb()
    await client.aclose()
    return url


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Path]:
    env = {name: value for name, value in os.environ.items() if name == "KUBEBUILDER_ASSETS"}
    with (
        enterable_directory() as path,
        _held(open_kubernetes(KubernetesConfig(directory=path, env=env, durable=False))) as api,
    ):
        yield api.kubeconfig


@pytest.fixture(scope="session")
def kubernetes_with_crds(kubernetes: Path) -> Path:
    async def install() -> None:
        async with open_client(ClientConfig(kubeconfig=kubernetes, field_manager="test")) as client:
            await ensure_crds(client, all_crds())

    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(install())
    return kubernetes


async def _execute(postgres: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.url("postgres"), timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def _held(opening: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Keep open what an asynchronous context manager opens, across the event loops of many tests.

    The loop that opens and closes it belongs to nobody else and stands still meanwhile.
    """
    with closing(asyncio.new_event_loop()) as loop:
        opened = loop.run_until_complete(opening.__aenter__())
        try:
            yield opened
        finally:
            loop.run_until_complete(opening.__aexit__(None, None, None))
