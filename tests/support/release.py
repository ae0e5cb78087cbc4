"""A release of the Helm chart on an API server, and its services as processes with the tokens of their accounts.

Nothing runs Pods here. So each service is a child process that reads the configuration file and the certificate that
the chart wrote, and uses a token of its ServiceAccount; only paths, ports and the database are this machine's, given by
the environment. Whatever the chart's RBAC does not allow fails as it would in a Pod.
"""

import asyncio
import base64
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import msgspec
import yaml

from kubernaut.embedded.process import Process, ProcessSpec, open_process
from kubernaut.kube.client import Client, ClientConfig, open_client
from kubernaut.kube.objects import Key, Kind, Unstructured
from support.chart import CHART, RELEASE, helm, render, write_values
from support.kinds import NAMESPACE

SECRET = Kind(version="v1", kind="Secret", plural="secrets", type=Unstructured)
CONFIG_MAP = Kind(version="v1", kind="ConfigMap", plural="configmaps", type=Unstructured)
ACCOUNT = Kind(version="v1", kind="ServiceAccount", plural="serviceaccounts", type=Unstructured)
KUBERNAUT = Path(sys.executable).with_name("kubernaut")

VALUES: Mapping[str, Any] = {
    "crds": {"install": False},  # the tests of one API server share them
    "postgresql": {"url": "postgresql://audit@pg.db.svc/ledger", "existingSecret": "pg", "sslMode": "require"},
    "gateway": {"senders": [{"name": "alertmanager", "namespace": "{namespace}"}]},
    "datastorage": {"readers": [{"kind": "ServiceAccount", "name": "auditor", "namespace": "{namespace}"}]},
}


@dataclass(frozen=True, kw_only=True)
class Release:
    """The chart installed in a namespace of its own."""

    client: Client
    """An administrator's."""
    kubeconfig: Path
    namespace: str
    folder: Path

    async def helm(self, *arguments: object, check: bool = True) -> str:
        command = [*arguments, "--namespace", self.namespace, "--kubeconfig", self.kubeconfig]
        return (await asyncio.to_thread(helm, *command, check=check)).stdout

    async def install(self, values: Mapping[str, Any] = VALUES, command: str = "install", *more: object) -> str:
        """Without hooks: nothing runs the Job that makes the ledger's key."""
        text = yaml.safe_dump(dict(values)).replace("{namespace}", self.namespace)
        file = write_values(self.folder / f"values-{uuid4().hex[:6]}.yaml", yaml.safe_load(text))
        return await self.helm(command, RELEASE, CHART, "--values", file, "--no-hooks", *more)

    async def token(self, account: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        return str(msgspec.json.decode(await self.client.post_raw(path, body))["status"]["token"])

    async def new_account(self, name: str) -> str:
        await self.client.create(ACCOUNT, {"metadata": {"name": name, "namespace": self.namespace}})
        return await self.token(name)

    async def account_kubeconfig(self, account: str) -> tuple[Path, Path]:
        """A kubeconfig of the ServiceAccount, and a file with the same token."""
        token = await self.token(account)
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": account, "user": {"token": token}}]
        config["contexts"][0]["context"] |= {"user": account, "namespace": self.namespace}
        kubeconfig, token_file = self.folder / f"{account}.kubeconfig", self.folder / f"{account}.token"
        kubeconfig.write_text(yaml.safe_dump(config))
        token_file.write_text(token)
        return kubeconfig, token_file

    async def unpack(self, kind: Kind[Any], name: str) -> Path:
        """The files that a Pod would find where the ConfigMap or Secret is mounted."""
        found = await self.client.get(kind, Key(self.namespace, name))
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for key, value in (found.get("data") or {}).items():
            (folder / key).write_bytes(base64.b64decode(value) if kind is SECRET else value.encode())
        for key, value in (found.get("stringData") or {}).items():  # a server without Secrets' defaulting keeps it
            (folder / key).write_text(value)
        return folder


async def make_ledger_keys(release: Release) -> None:
    """As the chart's hook does: with the permissions of its account."""
    kubectl = ["kubectl", "--kubeconfig", release.kubeconfig, "--namespace", release.namespace, "create", "-f"]
    file = release.folder / "hooks.yaml"
    file.write_text(yaml.safe_dump_all(_hooks(release)))
    await asyncio.to_thread(subprocess.run, [*kubectl, file], check=True, capture_output=True)
    if failure := await run_ledger_keys_job(release):
        raise RuntimeError(failure)


async def run_ledger_keys_job(release: Release) -> str:
    """What the hook's Job does, as its account; empty, or what it says when it fails."""
    (job,) = [each for each in _hooks(release) if each["kind"] == "Job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    kubeconfig, _ = await release.account_kubeconfig("kubernaut-ledger-keys")
    command = [KUBERNAUT, *container["command"][1:]]
    env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    ran = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True)
    return ran.stderr if ran.returncode else ""


def _hooks(release: Release) -> list[dict[str, Any]]:
    rendered = render(release.folder, VALUES, namespace=release.namespace)
    hook = "helm.sh/hook"
    return [each for each in rendered if hook in (each["metadata"].get("annotations") or {})]


@asynccontextmanager
async def open_release(kubeconfig: Path, folder: Path) -> AsyncIterator[Release]:
    """A namespace, and the folder of its files; nothing is installed in it."""
    async with open_client(ClientConfig(kubeconfig=kubeconfig, field_manager="test")) as client:
        namespace = f"release-{uuid4().hex[:8]}"
        await client.create(NAMESPACE, {"metadata": {"name": namespace}})
        yield Release(client=client, kubeconfig=kubeconfig, namespace=namespace, folder=folder)


@dataclass(kw_only=True)
class Services:
    """The running services of a release."""

    release: Release
    database_url: str
    processes: dict[str, Process] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    ca_files: dict[str, Path] = field(default_factory=dict)
    ready_timeout: float = 40  # seconds

    def http(self, service: str, token: str = "") -> httpx2.AsyncClient:
        """A client of one service, which trusts the chart's CA."""
        ca_file = self.ca_files.get(service)
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(
            base_url=self.urls[service], verify=verify, headers=headers, trust_env=False, timeout=20
        )

    async def open_datastorage(self, stack: AsyncExitStack) -> None:
        tls = await self.release.unpack(SECRET, "data-storage-tls")
        keys = await self.release.unpack(SECRET, "kubernaut-ledger-keys")
        database = urlsplit(self.database_url)
        password = self.release.folder / "pg-password"
        password.write_text(database.password or "")
        self.ca_files["datastorage"] = tls / "ca.crt"
        env = {
            "SERVER__TLS__CERT_FILE": tls / "tls.crt",
            "SERVER__TLS__KEY_FILE": tls / "tls.key",
            "SERVER__ENDPOINT_PROPAGATION_DELAY": 0,
            "DATABASE__HOST": database.hostname,
            "DATABASE__PORT": database.port,
            "DATABASE__NAME": database.path.lstrip("/"),
            "DATABASE__USER": database.username,
            "DATABASE__PASSWORD_FILE": password,
            "DATABASE__SSL_MODE": "disable",
            "LEDGER__KEY_FILE": keys / "keys",
        }
        await self._open(stack, "datastorage", "data-storage", "data-storage-config", _server() | env)

    async def open_gateway(self, stack: AsyncExitStack) -> None:
        tls = await self.release.unpack(SECRET, "gateway-tls")
        self.ca_files["gateway"] = tls / "ca.crt"
        env = {"SERVER__TLS__CERT_FILE": tls / "tls.crt", "SERVER__TLS__KEY_FILE": tls / "tls.key"}
        await self._open(stack, "gateway", "gateway", "gateway-config", _server() | env | self._client("gateway"))

    async def open_controller(self, stack: AsyncExitStack) -> None:
        policy = await self.release.unpack(CONFIG_MAP, "signalprocessing-policy")
        modes = await self.release.unpack(CONFIG_MAP, "signalprocessing-proactive-signal-mappings")
        env = {
            "CONTROLLER__METRICS_ADDR": "'127.0.0.1:0'",
            "CONTROLLER__HEALTH_PROBE_ADDR": "'127.0.0.1:0'",
            "CLASSIFIER__POLICY_DIR": policy,
            "CLASSIFIER__SIGNAL_MODES": modes / "proactive-signal-mappings.yaml",
        }
        account = "signalprocessing-controller"
        await self._open(stack, "controller", account, "signalprocessing-config", env | self._client(account))

    def _client(self, account: str) -> dict[str, object]:
        return {
            "DATASTORAGE__URL": self.urls["datastorage"],
            "DATASTORAGE__CA_FILE": self.ca_files["datastorage"],
            "DATASTORAGE__TOKEN_FILE": self.release.folder / f"{account}.token",
            "DATASTORAGE__SPOOL_DIR": self.release.folder / f"{account}.spool",
        }

    async def _open(
        self, stack: AsyncExitStack, service: str, account: str, config_map: str, env: Mapping[str, object]
    ) -> None:
        kubeconfig, _ = await self.release.account_kubeconfig(account)
        config = await self.release.unpack(CONFIG_MAP, config_map) / "config.yaml"
        port_file = self.release.folder / f"{service}.port"
        port_file.unlink(missing_ok=True)
        where = "CONTROLLER__PORT_FILE" if service == "controller" else "SERVER__PORT_FILE"
        prefix = f"KUBERNAUT_{service.upper()}__"
        own = {**env, "KUBECONFIG": kubeconfig, where: port_file}
        scheme = "https" if service in self.ca_files else "http"

        async def is_ready(process: Process) -> bool:
            if not port_file.exists():
                return False
            self.urls[service] = f"{scheme}://{port_file.read_text().strip()}"
            async with self.http(service) as http:
                try:
                    return (await http.get("/readyz")).is_success
                except httpx2.TransportError:
                    return False

        spec = ProcessSpec(
            name=service,
            command=[KUBERNAUT, service, "--config", config],
            log=self.release.folder / f"{service}.log",
            ready=is_ready,
            ready_timeout=self.ready_timeout,
            env={
                name: value for name, value in os.environ.items() if not name.startswith(("KUBERNAUT_", "KUBECONFIG"))
            },
            extra_env={prefix + name: str(value) for name, value in own.items()},
        )
        self.processes[service] = await stack.enter_async_context(open_process(spec))


def _server() -> dict[str, object]:
    return {"SERVER__HOST": "127.0.0.1", "SERVER__PORT": 0}


@asynccontextmanager
async def open_services(release: Release, database_url: str) -> AsyncIterator[Services]:
    """The three services, ready, on a database with our tables."""
    services = Services(release=release, database_url=database_url)
    async with AsyncExitStack() as stack:
        await services.open_datastorage(stack)
        await services.open_gateway(stack)
        await services.open_controller(stack)
        yield services
