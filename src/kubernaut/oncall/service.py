"""The page on a loopback address, with everything that it reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubernaut.audit import DataStorageClient
from kubernaut.kube.client import Client
from kubernaut.oncall.pages import Pages
from kubernaut.oncall.source import open_source
from kubernaut.ops.http.server import Listen, open_server
from kubernaut.ops.logins import without_login


@asynccontextmanager
async def open_oncall(
    client: Client,
    store: DataStorageClient,
    store_url: str,
    *,
    port: int = 0,
    namespace: str | None = None,
    store_interval: float = 10.0,
) -> AsyncIterator[str]:
    """Serve the page on 127.0.0.1 inside the block; yields its address, which nobody can guess.

    `store_url` is what `store` talks to; links lead there. `namespace` is that of the signals or of what they are
    about, None for all. DataStorage is asked every `store_interval` seconds whether it answers.
    Raises KubeError when the signals cannot be listed, and PortInUse.
    """
    async with open_source(client, store, namespace, store_interval=store_interval) as source:
        place = f"namespace {namespace}" if namespace is not None else "all namespaces"
        pages = Pages(source, store, without_login(store_url), place)
        async with open_server(pages.application(), Listen(port=port), shutdown_timeout=1.0) as server:
            try:
                yield f"{server.url}{pages.path}"
            finally:
                source.changes.close()  # ends the streams, for which the server would wait
