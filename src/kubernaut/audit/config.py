"""Where audit events go, and how much may wait on the way."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from kubernaut.api.events import MAX_BATCH_EVENTS
from kubernaut.ops.settings import Between, Bytes, Seconds, SettingsError


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """How DataStorage is reached."""

    url: str = "http://data-storage-service:8080"
    """Where DataStorage listens, without a path."""

    timeout: Annotated[Seconds, Between(0.1, 600)] = 10.0
    """Seconds for one request, from connecting to the last byte of the answer."""

    token_file: Path | None = None
    """File with the bearer token, such as the one of a service account; read again when it changes."""

    ca_file: Path | None = None
    """PEM file with the CA certificates of an https `url`; without it, those of the system."""

    def tls_verification(self) -> ssl.SSLContext | bool:
        """How the store's certificate is checked. Raises SettingsError when `ca_file` cannot be used."""
        if self.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # an SSLError is one
            raise SettingsError("caFile", str(self.ca_file), f"failed to read CA certificates: {error}") from error


@dataclass(frozen=True, kw_only=True)
class SpoolConfig:
    """Where events wait on disk."""

    directory: Path
    """Directory of this process alone; made when it is missing."""

    max_bytes: Annotated[Bytes, Between(2**20, 2**40)] = 2**30
    """Bytes of events that may wait; beyond that `record()` raises SpoolFull."""


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """How long to wait after a request that failed; it is tried again for ever."""

    initial_delay: Annotated[Seconds, Between(0.001, 60)] = 1.0
    """Seconds after the first failure; doubles with each one that follows."""

    max_delay: Annotated[Seconds, Between(0.001, 3600)] = 30.0
    """Seconds at most."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """The audit store of one process."""

    spool: SpoolConfig

    client: ClientConfig = field(default_factory=ClientConfig)

    retry: RetryConfig = field(default_factory=RetryConfig)

    batch_size: Annotated[int, Between(1, MAX_BATCH_EVENTS)] = 500
    """Events in one request at most."""

    max_batch_bytes: Annotated[Bytes, Between(1024, 2**26)] = 4 * 2**20
    """Bytes of events in one request at most, unless a single event is larger."""

    flush_interval: Annotated[Seconds, Between(0, 60)] = 0.2
    """Seconds that an event waits for a full batch before it is sent alone."""

    drain_timeout: Annotated[Seconds, Between(0, 600)] = 10.0
    """Seconds to wait for the last batches at shutdown; what is left waits on disk for the next start."""
