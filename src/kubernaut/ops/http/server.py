"""Running an ASGI application on a socket that is already bound, so that its port is known before anybody asks."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from kubernaut.ops.http.access_log import AccessLogMiddleware
from kubernaut.ops.http.addresses import is_loopback
from kubernaut.ops.http.connections import ConnectionTable
from kubernaut.ops.http.limits import HttpLimits
from kubernaut.ops.http.protocol import LimitedHttpProtocol
from kubernaut.ops.http.tls import ServerCertificate, TlsConfig
from kubernaut.ops.tasks import background

log = structlog.get_logger("http")

MAX_CHECK_INTERVAL = 1.0
"""Seconds between two looks at the deadlines of all connections, and at the certificate's files."""


class PortInUse(OSError):
    """Another process listens on this address already."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that listens."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where a service listens."""

    host: str = "127.0.0.1"
    """Address to bind; a pod sets 0.0.0.0."""

    port: int = 0
    """TCP port; 0 takes a free one."""

    port_file: Path | None = None
    """File that gets `host:port` once the service listens."""

    tls: TlsConfig = field(default_factory=TlsConfig)


@asynccontextmanager
async def open_server(
    app: ASGIApp, listen: Listen, *, table: ConnectionTable | None = None, shutdown_timeout: float = 30.0
) -> AsyncIterator[Server]:
    """Serve `app` until the block ends, then let requests in flight finish for at most `shutdown_timeout` seconds.

    Servers of one service share a table of connections. Raises PortInUse before anything is served,
    and SettingsError when the certificate cannot be used.
    """
    table = table or ConnectionTable(HttpLimits())
    certificate = _certificate(listen.tls)
    with contextlib.closing(_bound(listen)) as bound:
        config = uvicorn.Config(
            AccessLogMiddleware(app, table.access_log),
            http=partial(LimitedHttpProtocol, table=table),  # type: ignore[arg-type]  # whatever makes a protocol
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(shutdown_timeout)),
            server_header=False,
        )
        server = _Uvicorn(config, certificate, table.limits.header_timeout)
        async with (
            background(_check_deadlines(server, table), f"deadlines {listen.host}"),
            background(server.serve(sockets=[bound]), f"serve {listen.host}") as task,
        ):
            try:
                await _started(server, task)
                port: int = bound.getsockname()[1]
                if listen.port_file:
                    write_port_file(listen.port_file, listen.host, port)
                if not is_loopback(listen.host):
                    log.warning("server can be reached from other machines", host=listen.host, port=port)
                yield Server(host=listen.host, port=port, scheme="https" if certificate else "http")
            finally:
                server.should_exit = True
                try:
                    # A second cancellation must not leave the sockets open.
                    await asyncio.shield(task)
                finally:
                    server.close_connections()


def write_port_file(path: Path, host: str, port: int) -> None:
    """Write `host:port` so that a reader sees either nothing or all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(f"{host}:{port}\n")
    partial.replace(path)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: whoever opens the server decides when it ends."""

    def __init__(self, config: uvicorn.Config, certificate: ServerCertificate | None, handshake_timeout: float) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._handshake_timeout = handshake_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn's own loads a certificate once, and leaves each client a minute for the TLS handshake."""
        loop = asyncio.get_running_loop()
        protocol: Callable[[], asyncio.Protocol] = partial(
            self.config.http_protocol_class,  # type: ignore[call-arg]  # as uvicorn itself calls it
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        tls: dict[str, Any] = {}
        if self._certificate is not None:
            tls = {"ssl": self._certificate.context, "ssl_handshake_timeout": self._handshake_timeout}
        self.servers = [
            await loop.create_server(protocol, sock=bound, backlog=self.config.backlog, **tls)
            for bound in sockets or ()
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def check_deadlines(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, LimitedHttpProtocol):
                connection.check_deadlines(now)

    def refresh_certificate(self) -> None:
        if self._certificate is not None:
            self._certificate.refresh()

    def close_connections(self) -> None:
        """Those whose time to finish is over."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _bound(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer takes 40 ms more.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((listen.host, listen.port))
    except OSError as error:
        bound.close()
        raise PortInUse(
            error.errno,
            f"cannot listen on {listen.host}:{listen.port}: {error.strerror}; choose another port, or 0 for a free one",
        ) from error
    return bound


def _certificate(tls: TlsConfig) -> ServerCertificate | None:
    return ServerCertificate(tls.cert_file, tls.key_file) if tls.cert_file and tls.key_file else None


async def _check_deadlines(server: _Uvicorn, table: ConnectionTable) -> None:
    limits = table.limits
    timeouts = (limits.header_timeout, limits.body_timeout, limits.write_timeout, limits.keep_alive_timeout)
    interval = min(MAX_CHECK_INTERVAL, min(timeouts) / 2)
    clock = asyncio.get_running_loop().time
    while True:
        started = clock()
        await asyncio.sleep(interval)
        # After the process has stood still, what clients sent in time is still to be read.
        if clock() - started < 2 * interval:
            server.check_deadlines()
        server.refresh_certificate()
        table.access_log.flush()


async def _started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    # uvicorn tells that it has started by a flag only. An error of the task ends this wait.
    while not server.started:
        if task.done() and (task.cancelled() or task.exception() is None):
            raise RuntimeError("the HTTP server ended before it had started")
        await asyncio.sleep(0.001)
