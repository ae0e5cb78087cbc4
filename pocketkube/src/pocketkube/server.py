"""The server as one lifetime: the store, the application, the port, the kubeconfig."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from pocketkube.api_server import ApiServer, DirectoryInUse
from pocketkube.http.app import create_app
from pocketkube.http.documents import Documents
from pocketkube.http.edge import BACKLOG, ConnectionLimit, limited_protocol, max_connections
from pocketkube.http.endpoints import Endpoints
from pocketkube.kubeconfig import write_kubeconfig
from pocketkube.operations.garbage_collector import GarbageCollector
from pocketkube.operations.requests import Options
from pocketkube.operations.writer import Writer
from pocketkube.resources import crds
from pocketkube.resources.builtin import builtin_resources
from pocketkube.resources.registry import Registry
from pocketkube.storage.store import Change, Store, open_store

HOST = "127.0.0.1"
_INITIAL_NAMESPACES = ("default", "kube-system", "kube-public")
_SHUTDOWN_TIMEOUT = 2  # seconds that open requests have when the server stops


@asynccontextmanager
async def open_api_server(
    directory: Path | None = None, *, port: int = 0, kubeconfig: Path | None = None, token: str = ""
) -> AsyncIterator[ApiServer]:
    """Serve on this event loop until the block is left; without a directory nothing is kept.

    Port 0 means the port of the last run when that is free, else any; the kubeconfig is written into the directory, and
    the token is a random one that the directory remembers, if nothing else is said.
    Raises DirectoryInUse when another server uses the directory, OSError when the port is taken.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pocketkube-")))
        async with _open(directory, port, kubeconfig, token) as server:
            yield server


@asynccontextmanager
async def _open(directory: Path, port: int, kubeconfig: Path | None, token: str) -> AsyncIterator[ApiServer]:
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody is served yet
    with _exclusive_lock(directory):
        token = token or _stored_token(directory)
        store = open_store(directory)
        try:
            registry = Registry(builtin_resources())
            _register_custom_resources(store, registry)
            await _create_initial_namespaces(store, registry)
            endpoints = Endpoints(store, registry, [token])
            app = create_app(endpoints, Documents(registry), [token])
            with _listening_socket(directory, port) as listening:
                url = f"http://{HOST}:{listening.getsockname()[1]}"
                path = kubeconfig or directory / "kubeconfig"
                async with asyncio.TaskGroup() as tasks:
                    collector = tasks.create_task(GarbageCollector(store, registry).run(), name="cleanup")
                    server = _Server(_config(app))
                    serving = tasks.create_task(server.serve([listening]), name="http")
                    await server.ready.wait()
                    write_kubeconfig(path, url, token)
                    try:
                        yield ApiServer(url=url, kubeconfig=path, token=token)
                    finally:
                        endpoints.stopping.set()
                        server.should_exit = True
                        await serving
                        collector.cancel()
        finally:
            store.close()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=limited_protocol(ConnectionLimit(max_connections())),
        backlog=BACKLOG,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="critical",  # 4xx are responses, and errors are logged by the application
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
        timeout_keep_alive=3600,
    )


class _Server(uvicorn.Server):
    """Leaves signals to its owner, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def _exclusive_lock(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUse(f"another API server is using {directory}") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _listening_socket(directory: Path, port: int) -> Iterator[socket.socket]:
    port_file = directory / "port"
    listening = None
    if port == 0 and port_file.exists():
        try:
            listening = _bind(int(port_file.read_text()))
        except (OSError, ValueError):
            listening = None
    if listening is None:
        listening = _bind(port)
    with listening:
        port_file.write_text(str(listening.getsockname()[1]))
        yield listening


def _bind(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
    except OSError:
        listening.close()
        raise
    return listening


def _stored_token(directory: Path) -> str:
    path = directory / "token"
    if path.exists() and (token := path.read_text().strip()):
        return token
    token = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)
    return token


def _register_custom_resources(store: Store, registry: Registry) -> None:
    for record in store.collection(crds.STORAGE).records.values():
        crds.register(registry, record.as_object())

    def on_change(storage: str, change: Change) -> None:
        if storage != crds.STORAGE:
            return
        if change.new is not None:
            crds.register(registry, change.new.as_object())
        elif change.old is not None:
            crds.unregister(registry, change.old.as_object())

    store.subscribe(on_change)


async def _create_initial_namespaces(store: Store, registry: Registry) -> None:
    resource = registry.for_path("", "v1", "namespaces")
    if resource is None:
        return
    writer = Writer(store, registry)
    for name in _INITIAL_NAMESPACES:
        if store.get(resource.storage, ("", name)) is None:
            writer.create(resource, None, {"metadata": {"name": name}}, Options(manager="pocketkube"))
    await store.committed()
