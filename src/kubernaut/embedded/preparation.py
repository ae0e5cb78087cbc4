"""What an empty database and an empty cluster need before the services start."""

from contextlib import suppress
from pathlib import Path

import asyncpg

from kubernaut.api.crds import all_crds
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.settings import bound_origin
from kubernaut.embedded.postgres import Postgres
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.crds import ensure_crds
from kubernaut.kube.errors import AlreadyExists
from kubernaut.kube.objects import Kind, Unstructured

_NAMESPACES = Kind(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False, type=Unstructured)


async def prepare_database(server: Postgres, name: str) -> str:
    """The database, with its schema. Returns the origin of the ledger in it, empty where it has none yet."""
    connection = await asyncpg.connect(server.url("postgres"), timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    except asyncpg.DuplicateDatabaseError:
        pass
    finally:
        await connection.close(timeout=5)
    await migrate(server.url(name))
    connection = await asyncpg.connect(server.url(name), timeout=10)
    try:
        return await bound_origin(connection)
    finally:
        await connection.close(timeout=5)


async def prepare_cluster(kubeconfig: Path, namespace: str) -> None:
    """The CRDs, and the namespace of signals."""
    async with open_client(ClientConfig(kubeconfig=kubeconfig, field_manager="kubernaut-up")) as client:
        await ensure_crds(client, all_crds())
        with suppress(AlreadyExists):
            await client.create(_NAMESPACES, {"metadata": {"name": namespace}})
