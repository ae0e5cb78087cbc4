"""A real etcd and kube-apiserver from a folder such as setup-envtest makes, to compare with."""

import asyncio
import contextlib
import json
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

_SOCKET = "etcd.sock:0"  # etcd wants the form of a host and a port
_START_TIMEOUT = 120  # seconds
_ISSUER = "https://kubernetes.default.svc"


@asynccontextmanager
async def open_control_plane(assets: Path, directory: Path) -> AsyncIterator[Path]:
    """Run both servers until the block ends; yield the path of an administrator's kubeconfig."""
    token, port = secrets.token_urlsafe(16), _free_port()
    (directory / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    async with _process(directory, *_etcd(assets)), _process(directory, *_api_server(assets, port)) as server:
        certificate = directory / "certs" / "apiserver.crt"
        async with asyncio.timeout(_START_TIMEOUT):
            while not await _is_ready(port, certificate, token):
                assert server.returncode is None, (directory / "kube-apiserver.log").read_text()
                await asyncio.sleep(0.05)
        yield _kubeconfig(directory, port, certificate, token)


@asynccontextmanager
async def _process(directory: Path, program: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    # The sockets of etcd are named relative to the directory: their full paths could be too long.
    with (directory / f"{program.name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            program, *options, cwd=directory, stdout=log, stderr=log, env={"GOGC": "50"}
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _etcd(assets: Path) -> tuple[Path, *tuple[str, ...]]:
    client, peer = f"unix://{_SOCKET}", "unix://peer.sock:0"
    return (
        assets.absolute() / "etcd",
        "--data-dir=etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    )


def _api_server(assets: Path, port: int) -> tuple[Path, *tuple[str, ...]]:
    return (
        assets.absolute() / "kube-apiserver",
        f"--etcd-servers=unix://{_SOCKET}",
        "--cert-dir=certs",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        "--token-auth-file=tokens.csv",
        "--allow-privileged=true",
        "--service-account-key-file=certs/apiserver.key",
        "--service-account-signing-key-file=certs/apiserver.key",
        f"--service-account-issuer={_ISSUER}",
        f"--api-audiences={_ISSUER}",
        # Nobody makes the tokens that this plug-in would mount into pods.
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
    )


async def _is_ready(port: int, certificate: Path, token: str) -> bool:
    try:
        trust = ssl.create_default_context(cafile=certificate)
        async with httpx2.AsyncClient(verify=trust, timeout=2) as client:
            headers = {"Authorization": f"Bearer {token}"}
            return (await client.get(f"https://127.0.0.1:{port}/readyz", headers=headers)).is_success
    except (OSError, httpx2.HTTPError):
        return False


def _kubeconfig(directory: Path, port: int, certificate: Path, token: str) -> Path:
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(certificate)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "real", "cluster": cluster}],
        "users": [{"name": "real", "user": {"token": token}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real", "namespace": "default"}}],
        "current-context": "real",
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
