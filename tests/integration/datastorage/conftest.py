"""A migrated database per test, a store on it, and the service over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import asyncpg
import httpx2
import pytest
from prometheus_client import CollectorRegistry

from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.service import open_service
from kubernaut.datastorage.store import Store, open_store
from support.datastorage import OpenStore, config_for


@pytest.fixture
def database(migrated_database: str) -> str:
    """The URL of a migrated database of this test's own."""
    return migrated_database


@pytest.fixture
def another_store(database: str) -> OpenStore:
    """As many stores on the test's database as it wants."""

    @asynccontextmanager
    async def opening(*, shards: int = 1) -> AsyncIterator[Store]:
        async with open_store(config_for(database, shards=shards), Metrics(CollectorRegistry())) as store:
            yield store

    return opening


@pytest.fixture
async def store(another_store: OpenStore) -> AsyncIterator[Store]:
    async with another_store() as opened:
        yield opened


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of somebody who goes around the service."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def sql_of() -> AsyncIterator[Callable[[str], Awaitable[asyncpg.Connection]]]:
    """Connections to databases that the test makes by itself."""
    async with AsyncExitStack() as stack:

        async def connect(url: str) -> asyncpg.Connection:
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            return connection

        yield connect


@pytest.fixture
def open_store_on() -> Callable[[str], AbstractAsyncContextManager[Store]]:
    """A store on a database that the test makes by itself."""
    return lambda url: open_store(config_for(url), Metrics(CollectorRegistry()))


@pytest.fixture
async def http(database: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the running service."""
    async with (
        open_service(config_for(database)) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        yield client
