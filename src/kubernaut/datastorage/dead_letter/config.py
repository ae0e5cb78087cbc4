"""Where the dead-letter queue is and how much it may hold; keys are camelCase in the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from kubernaut.ops.settings import Between, Bytes, Seconds, Secret, SettingsError


@dataclass(frozen=True, kw_only=True)
class DeadLetterConfig:
    """A Valkey or Redis server (not a cluster) that several DataStorage processes of one database share."""

    host: str = ""
    """Host name or address of Valkey or Redis. Empty: no queue, and an outage of PostgreSQL is answered with 503."""

    port: Annotated[int, Between(1, 65535)] = 6379
    database: Annotated[int, Between(0, 65535)] = 0
    """Number of the database; one for each PostgreSQL database."""

    username: str = ""
    password: Secret | None = None
    """Better kept in a file."""

    password_file: Path | None = None
    """File that holds the password and nothing else."""

    tls: bool = False
    tls_ca_cert: Path | None = None
    """CA certificates for TLS; the system's when absent."""

    require_durability: bool = True
    """Refuse a server that could lose acknowledged events. It needs `appendonly yes`, `appendfsync always` and
    `maxmemory-policy noeviction`, and must allow CONFIG GET."""

    max_events: Annotated[int, Between(1, 1_000_000_000)] = 1_000_000
    """Events in the queue and among the dead letters; beyond it the answer is 503."""

    max_size: Annotated[Bytes, Between(1024, 2**50)] = 2**30
    """Bytes of those events; the server keeps them in memory, so leave room for as much again."""

    timeout: Annotated[Seconds, Between(0.1, 60)] = 2.0
    """Seconds for one command or connection."""

    write_timeout: Annotated[Seconds, Between(0.1, 60)] = 4.0
    """Seconds that a request waits for PostgreSQL, or for the queue to drain, before its events are queued."""

    retry_interval: Annotated[Seconds, Between(0.01, 60)] = 0.5
    """Seconds between attempts to reach PostgreSQL while the queue holds events."""

    drain_timeout: Annotated[Seconds, Between(0, 600)] = 10.0
    """Seconds to go on draining at shutdown; what is left waits for the next start."""

    @property
    def is_enabled(self) -> bool:
        return bool(self.host)

    def credentials(self) -> tuple[str | None, str | None]:
        """User name and password. Raises SettingsError."""
        if self.password_file:
            try:
                return self.username or None, self.password_file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    "deadLetterQueue.passwordFile", str(self.password_file), f"the file cannot be read: {error}"
                ) from error
        return self.username or None, self.password.reveal() if self.password else None
