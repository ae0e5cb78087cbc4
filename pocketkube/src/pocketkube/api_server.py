"""What a running server tells those who use it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketkube.kubeconfig import client_config


class StartError(Exception):
    """The server could not be started: its directory or port is in use, or the process ended early."""


class DirectoryInUse(StartError):
    """Another server uses this data directory."""


@dataclass(frozen=True, kw_only=True)
class ApiServer:
    """A running API server."""

    url: str
    """Such as http://127.0.0.1:34567; requests need `Authorization: Bearer TOKEN`."""
    kubeconfig: Path
    """A file for kubectl, helm and every other client; it holds address and token."""
    token: str
    """The administrator's bearer token."""

    @property
    def client_config(self) -> dict[str, Any]:
        """The content of the kubeconfig, as `kubernetes` and `lightkube` take it."""
        return client_config(self.url, self.token)
