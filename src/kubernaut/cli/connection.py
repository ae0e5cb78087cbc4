"""How a command reaches DataStorage."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import cyclopts

from kubernaut.cli.errors import CommandError
from kubernaut.ops.logins import without_login

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


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        shown = without_login(url)
        raise CommandError(f"--url {shown!r} is no http:// or https:// URL", code=2, hint=f"--url {DEFAULT_URL}")


def open_store(options: ConnectionOptions | None) -> AbstractAsyncContextManager["DataStorageClient"]:
    """A client of that DataStorage. Raises CommandError for a URL that is none.

    Raises SettingsError when the CA certificates cannot be read.
    """
    # Lazy import, see kubernaut.cli.app.
    from kubernaut.audit import ClientConfig, open_client

    options = options or ConnectionOptions()
    _check(options.url)
    return open_client(ClientConfig(url=options.url, token_file=options.token_file, ca_file=options.ca_file))
