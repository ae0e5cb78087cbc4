"""Authentication of the HTTP client, from a kubeconfig or a pod's service account.

lightkube reads the configuration and authenticates with tokens, token files and client certificates.
Exec credential plugins are run here, because lightkube supports only the beta versions of their API and has no timeout.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User, UserExec
from lightkube.core.exceptions import ConfigError

from kubernaut.kube.errors import Misconfigured, Unauthorized
from kubernaut.kube.kubeconfig import merged
from kubernaut.ops.json_faults import JSON_FAULTS

_EXPIRY_MARGIN = timedelta(seconds=30)
_EXEC_VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))


def read_config(kubeconfig: Path | Sequence[Path] | None, context: str | None = None) -> SingleConfig:
    """The cluster and user of one context, or of the pod when no file is given; else `Misconfigured`.

    Several files are merged as kubectl merges them: the first that has a value wins, and a missing file is left out.
    """
    paths = (Path(kubeconfig),) if isinstance(kubeconfig, Path | str) else tuple(kubeconfig or ())
    where = (
        f"kubeconfig {os.pathsep.join(map(str, paths))}" if paths else "no kubeconfig given, and not running in a pod"
    )
    config = None
    try:
        config = KubeConfig.from_dict(merged(paths)) if paths else KubeConfig.from_service_account()
        # An empty name is none, as kubectl has it.
        chosen = config.get(context or None)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise Misconfigured(where) from error  # no file of a service account, as where is says
        known = ", ".join(sorted(config.contexts)) if config is not None else ""
        raise Misconfigured(f"{where}: {error}{f'; there is {known}' if known else ''}") from error
    except OSError as error:
        raise Misconfigured(f"{where}: {error}") from error
    except KeyError as error:
        if "KUBERNETES_SERVICE" in str(error):
            raise Misconfigured(f"{where}: the variable {error} is not set") from None
        raise Misconfigured(f"{where}: the context names a cluster or a user that is not there: {error}") from None
    if chosen is None:
        raise Misconfigured(f"{where} has no current context")
    return chosen


def connection_parameters(config: SingleConfig, plugin_timeout: float) -> dict[str, Any]:
    """`url`, `tls` and `auth` of a `ConnectionConfig`: address, certificates and authentication."""
    user = config.user or User()
    plugin = user.exec
    if plugin is not None:
        user = msgspec.structs.replace(user, exec=None)
    try:
        arguments = ConnectionParams().httpx_params(config._replace(user=user))
    except (ConfigError, OSError, ValueError) as error:
        raise Misconfigured(f"context {config.context_name}: {error}") from error
    auth = arguments["auth"] if plugin is None else ExecCredentialAuth(plugin, plugin_timeout)
    return {"url": arguments["base_url"], "tls": arguments["verify"], "auth": auth}


class _Credential(msgspec.Struct, rename="camel"):
    token: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct):
    status: _Credential


class ExecCredentialAuth(httpx2.Auth):
    """A bearer token from an exec credential plugin: cached until it expires or is rejected with 401."""

    def __init__(self, plugin: UserExec, timeout: float) -> None:
        if plugin.apiVersion not in _EXEC_VERSIONS:
            raise Misconfigured(f"credential plugin {plugin.command}: {plugin.apiVersion} is not supported")
        self._plugin = plugin
        self._timeout = timeout
        self._credential: _Credential | None = None
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        credential = await self._get(rejected=None)
        request.headers["Authorization"] = f"Bearer {credential.token}"
        response = yield request
        if response.status_code == 401:
            credential = await self._get(rejected=credential)
            request.headers["Authorization"] = f"Bearer {credential.token}"
            yield request

    async def _get(self, rejected: _Credential | None) -> _Credential:
        async with self._lock:  # one plugin process, however many requests wait for the credential
            known = self._credential
            if known is None or known is rejected or self._expires_soon(known):
                self._credential = await self._run_plugin()
            assert self._credential is not None  # noqa: S101 - for the type checker
            return self._credential

    def _expires_soon(self, credential: _Credential) -> bool:
        expires = credential.expiration_timestamp
        return expires is not None and expires - _EXPIRY_MARGIN < datetime.now(UTC)

    async def _run_plugin(self) -> _Credential:
        plugin = self._plugin
        request = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = dict(os.environ)  # the plugin's, not ours: clouds configure their plugins by it
        environment.update({var.name: var.value for var in plugin.env or []})
        environment["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(request).decode()
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.command,
                *(plugin.args or []),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise Unauthorized(f"credential plugin {plugin.command}: {error}") from error
        try:
            async with asyncio.timeout(self._timeout):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise Unauthorized(f"credential plugin {plugin.command}: no output after {self._timeout:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise Unauthorized(f"credential plugin {plugin.command} exited with {process.returncode}")
        try:
            return msgspec.json.decode(output, type=_ExecCredential).status
        except JSON_FAULTS as error:
            raise Unauthorized(f"credential plugin {plugin.command}: not an ExecCredential") from error
