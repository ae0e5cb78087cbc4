"""How a command reaches DataStorage."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

if TYPE_CHECKING:
    from kubernaut.audit import DataStorageClient

DEFAULT_URL = "http://127.0.0.1:8080"


@cyclopts.Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """Where DataStorage is, and who asks."""

    url: Annotated[str, cyclopts.Parameter(env_var="KUBERNAUT_DATASTORAGE_URL")] = DEFAULT_URL
    """URL of DataStorage; `kubernaut up` prints it."""

    token_file: Annotated[Path | None, cyclopts.Parameter(env_var="KUBERNAUT_DATASTORAGE_TOKEN_FILE")] = None
    """File with a bearer token."""

    ca_file: Annotated[Path | None, cyclopts.Parameter(env_var="KUBERNAUT_DATASTORAGE_CA_FILE")] = None
    """PEM file with the CA certificates of an https URL; without it, those of the system."""


def open_store(options: ConnectionOptions | None) -> AbstractAsyncContextManager["DataStorageClient"]:
    """A client of that DataStorage. Raises SettingsError when the CA certificates cannot be read."""
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import ClientConfig, open_client

    options = options or ConnectionOptions()
    return open_client(ClientConfig(url=options.url, token_file=options.token_file, ca_file=options.ca_file))
