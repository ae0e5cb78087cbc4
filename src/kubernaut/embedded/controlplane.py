"""A real etcd and kube-apiserver, started from a folder such as setup-envtest makes.

    async with open_control_plane(assets, data / "kubernetes") as kubeconfig:
        ...

Only the two programs are needed. kube-apiserver creates its own certificate and key, and the key also signs the
tokens of service accounts. The kubeconfig is an administrator's, with a random token. Objects are stored in the
directory and are there again at the next start, on the same port if it is still free.
etcd has no password, so it has no TCP port either: it listens on a Unix socket in the directory, which only we can
enter. The socket's path is relative to the directory, in which both programs run, because it could be too long.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

import httpx2

from kubernaut.embedded.errors import EmbeddedError
from kubernaut.embedded.ports import HOST, open_on_free_port
from kubernaut.embedded.process import Process, ProcessSpec, open_process
from kubernaut.embedded.secret_files import secret_in, write_secret

_PROBE_TIMEOUT = 2.0  # seconds
_SOCKET = "etcd.sock:0"  # etcd requires the form of a host and a port
_MAX_CERTIFICATE_AGE = 300 * 86400  # seconds; kube-apiserver issues one for a year
_SERVICE_ADDRESSES = "10.0.0.0/24"
_ISSUER = "https://kubernetes.default.svc"


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """An etcd and a kube-apiserver that are ready."""

    kubeconfig: Path
    port: int
    processes: tuple[Process, ...]


def find_assets(env: Mapping[str, str]) -> Path | None:
    """A folder with etcd and kube-apiserver, or None.

    `KUBEBUILDER_ASSETS`, the folder of `TEST_ASSET_KUBE_APISERVER` and `TEST_ASSET_ETCD`, `PATH`,
    `/usr/local/kubebuilder/bin`. Raises `EmbeddedError` when a variable names a folder without the programs.
    """
    if named := env.get("KUBEBUILDER_ASSETS"):
        folder = Path(named)
        if not _has_both(folder):
            raise EmbeddedError(f"KUBEBUILDER_ASSETS={named} is not a folder with the programs etcd and kube-apiserver")
        return folder
    for variable in ("TEST_ASSET_KUBE_APISERVER", "TEST_ASSET_ETCD"):
        if (named := env.get(variable)) and _has_both(Path(named).parent):
            return Path(named).parent
    for folder in (*map(Path, env.get("PATH", "").split(os.pathsep)), Path("/usr/local/kubebuilder/bin")):
        if folder.is_absolute() and _has_both(folder):
            return folder
    return None


@asynccontextmanager
async def open_control_plane(
    assets: Path, directory: Path, *, durable: bool = True, port: int = 0
) -> AsyncIterator[Path]:
    """Run both servers until the block ends; gives the path of an administrator's kubeconfig."""
    async with open_servers(assets, directory, durable=durable, port=port) as servers:
        yield servers.kubeconfig


@asynccontextmanager
async def open_servers(
    assets: Path, directory: Path, *, durable: bool = True, port: int = 0
) -> AsyncIterator[ControlPlane]:
    """Run both servers until the block ends. Not `durable`: objects are kept in memory and lost afterwards."""
    assets, directory = _prepared(assets, directory)
    with _etcd_data(directory, durable) as data:
        async with open_process(_etcd(assets, directory, data, durable)) as etcd:
            api = _ApiServer(assets, directory, durable)
            async with open_on_free_port(api.spec, port) as (server, server_port):
                yield ControlPlane(
                    kubeconfig=api.write_kubeconfig(server_port), port=server_port, processes=(etcd, server)
                )


def _etcd(assets: Path, directory: Path, data: Path, durable: bool) -> ProcessSpec:
    client, peer = f"unix://{_SOCKET}", "unix://peer.sock:0"
    command = [str(assets / "etcd"), f"--data-dir={data}", "--auto-compaction-retention=1h"]
    command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    command += [f"--initial-cluster=default={peer}"]
    if not durable:
        command.append("--unsafe-no-fsync")

    async def is_ready(process: Process) -> bool:
        with _short_path(directory) as short:
            return await _is_healthy(short / _SOCKET)

    return ProcessSpec(
        name="etcd",
        command=command,
        log=directory / "etcd.log",
        ready=is_ready,
        cwd=directory,
        stop_signal=_stop_signal(durable),
    )


class _ApiServer:
    def __init__(self, assets: Path, directory: Path, durable: bool) -> None:
        self._program = assets / "kube-apiserver"
        self._directory = directory
        self._stop_signal = _stop_signal(durable)
        self._certificates = directory / "certs"
        self._token = secret_in(directory / "token")
        write_secret(directory / "tokens.csv", f"{self._token},admin,admin,system:masters\n")
        self._remove_old_certificate()

    @property
    def _certificate(self) -> Path:
        return self._certificates / "apiserver.crt"

    def spec(self, port: int) -> ProcessSpec:
        key = self._certificates / "apiserver.key"
        command = [
            str(self._program),
            f"--etcd-servers=unix://{_SOCKET}",
            f"--cert-dir={self._certificates}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={port}",
            f"--service-cluster-ip-range={_SERVICE_ADDRESSES}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--allow-privileged=true",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--service-account-issuer={_ISSUER}",
            f"--api-audiences={_ISSUER}",
            # No controller creates the tokens that this plug-in would mount into pods.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
        ]

        async def is_ready(process: Process) -> bool:
            return await asyncio.to_thread(_is_ready, port, self._certificate, self._token)

        return ProcessSpec(
            name="kube-apiserver",
            command=command,
            log=self._directory / "kube-apiserver.log",
            ready=is_ready,
            ready_timeout=120.0,
            cwd=self._directory,
            # Collects garbage at half the growth: these machines are small, and the server is mostly idle.
            extra_env={"GOGC": "50"},
            stop_signal=self._stop_signal,
        )

    def write_kubeconfig(self, port: int) -> Path:
        path = self._directory / "kubeconfig"
        cluster = {"server": f"https://{HOST}:{port}", "certificate-authority": str(self._certificate)}
        name = "kubernaut"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": self._token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        }
        write_secret(path, json.dumps(content, indent=2) + "\n")  # JSON is YAML
        return path

    def _remove_old_certificate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - self._certificate.stat().st_mtime > _MAX_CERTIFICATE_AGE:
                shutil.rmtree(self._certificates)


def _prepared(assets: Path, directory: Path) -> tuple[Path, Path]:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return assets.absolute(), directory.absolute()


@contextmanager
def _etcd_data(directory: Path, durable: bool) -> Iterator[Path]:
    if durable:
        yield directory / "etcd"
        return
    memory = Path("/dev/shm")  # noqa: S108 - a folder of random name is made in it
    with tempfile.TemporaryDirectory(prefix="etcd-", dir=memory if os.access(memory, os.W_OK) else directory) as path:
        yield Path(path)


def _stop_signal(durable: bool) -> signal.Signals:
    # A server whose data is removed needs no graceful shutdown, which takes a second.
    return signal.SIGTERM if durable else signal.SIGKILL


@contextmanager
def _short_path(directory: Path) -> Iterator[Path]:
    """Another name of the directory, short enough for the path of a socket in it."""
    descriptors = Path("/proc/self/fd")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptors / str(fd) if descriptors.exists() else directory
    finally:
        os.close(fd)


async def _is_healthy(socket: Path) -> bool:
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    try:
        async with httpx2.AsyncClient(transport=transport, timeout=_PROBE_TIMEOUT) as client:
            response = await client.get("http://etcd/health")
    except (OSError, httpx2.HTTPError):
        return False
    return response.is_success and response.json().get("health") == "true"


def _is_ready(port: int, certificate: Path, token: str) -> bool:
    # In a thread, because asyncio leaves a socket open when TLS fails, as it does while the server starts.
    try:
        context = ssl.create_default_context(cafile=certificate)
        with closing(HTTPSConnection(HOST, port, timeout=_PROBE_TIMEOUT, context=context)) as connection:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False


def _has_both(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("etcd", "kube-apiserver"))
