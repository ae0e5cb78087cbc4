"""The configuration of DataStorage; keys are camelCase in the file."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote, unquote, urlencode, urlsplit

import yaml

from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.ops.http.auth_config import AuthConfig, AuthMode
from kubernaut.ops.http.limits import HttpLimits
from kubernaut.ops.http.tls import TlsConfig
from kubernaut.ops.logs import LogFormat, LogLevel
from kubernaut.ops.settings import Between, Bytes, Seconds, Secret, SettingsError
from kubernaut.ops.tracing import TracingConfig


class SslMode(StrEnum):
    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where and how it answers; health and metrics are served on the same port."""

    host: str = "127.0.0.1"
    """Address to bind; a pod sets 0.0.0.0."""

    port: Annotated[int, Between(0, 65535)] = 8080
    """TCP port; 0 takes a free one."""

    port_file: Path | None = None
    """File that gets `host:port` once the service listens."""

    tls: TlsConfig = field(default_factory=TlsConfig)

    max_batch_size: Annotated[int, Between(1, 1000)] = 1000
    """Events in one request."""

    max_body_size: Annotated[Bytes, Between(1024, 50 * 2**20)] = 5 * 2**20
    """Bytes of one request's body."""

    max_waiting_events: Annotated[int, Between(1000, 1_000_000)] = 20_000
    """Events admitted and not yet committed, over all requests; beyond it the answer is 503 with Retry-After."""

    http_limits: HttpLimits = field(default_factory=HttpLimits)
    """What clients may take."""

    shutdown_timeout: Annotated[Seconds, Between(0, 600)] = 60.0
    """Seconds that requests in flight get to finish after SIGTERM."""

    endpoint_propagation_delay: Annotated[Seconds, Between(0, 120)] = 5.0
    """Seconds to go on answering after SIGTERM, with readiness off, until load balancers have noticed."""


@dataclass(frozen=True, kw_only=True)
class DatabaseConfig:
    """PostgreSQL and how to log in: `password`, or a file with it, or a YAML or JSON file with both."""

    host: str = "127.0.0.1"
    """Host name, address, or directory of the Unix socket."""

    port: Annotated[int, Between(1, 65535)] = 5432
    name: str = "action_history"
    user: str = "slm_user"
    password: Secret | None = None
    """Better kept in a file."""

    password_file: Path | None = None
    """File that holds the password and nothing else."""

    secrets_file: Path | None = None
    """YAML or JSON file, as a mounted secret has it."""

    username_key: str = "username"
    """Key of the user name in `secretsFile`; when the file lacks it, `user` counts."""

    password_key: str = "password"  # noqa: S105 - the name of a key
    """Key of the password in `secretsFile`."""

    ssl_mode: SslMode = SslMode.PREFER
    ssl_root_cert: Path | None = None
    """CA certificates for verify-ca and verify-full."""

    max_open_conns: Annotated[int, Between(4, 1000)] = 10
    """Connections to PostgreSQL: two write, one serves readiness, the others read."""

    conn_max_idle_time: Seconds = 600.0
    """Seconds after which an idle reading connection is closed."""

    connect_timeout: Annotated[Seconds, Between(0.1, 60)] = 5.0
    """Seconds for one attempt to connect."""

    connect_attempts: Annotated[int, Between(1, 1000)] = 10
    """Attempts to reach PostgreSQL at start-up."""

    connect_interval: Annotated[Seconds, Between(0.01, 60)] = 2.0
    """Seconds between those attempts."""

    statement_timeout: Annotated[Seconds, Between(1, 600)] = 30.0
    """Seconds after which PostgreSQL gives up a statement."""

    lock_timeout: Annotated[Seconds, Between(0.1, 600)] = 10.0
    """Seconds to wait for the ledger's lock or any other."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The same from `postgresql://user:password@host:port/name`, with every other setting at its default."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 5432,
            name=unquote(parts.path.lstrip("/")),
            user=unquote(parts.username or ""),
            password=Secret(unquote(parts.password)) if parts.password else None,
        )

    def dsn(self) -> str:
        """The connection URL, with the password in it: never log it. Raises SettingsError."""
        user, password = self._credentials()
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        query = {"sslmode": self.ssl_mode.value}
        if self.ssl_root_cert:
            query["sslrootcert"] = str(self.ssl_root_cert)
        where = f"{self.host}:{self.port}"
        if self.host.startswith("/"):
            query |= {"host": self.host, "port": str(self.port)}
            where = ""
        elif ":" in self.host:
            where = f"[{self.host}]:{self.port}"
        return f"postgresql://{login}@{where}/{quote(self.name, safe='')}?{urlencode(query)}"

    def _credentials(self) -> tuple[str, str]:
        if self.secrets_file:
            values = _mapping(self.secrets_file)
            if self.password_key not in values:
                raise SettingsError(
                    "database.secretsFile", str(self.secrets_file), f"the file has no key {self.password_key!r}"
                )
            return str(values.get(self.username_key) or self.user), str(values[self.password_key])
        if self.password_file:
            return self.user, _text("database.passwordFile", self.password_file).strip()
        return self.user, self.password.reveal() if self.password else ""


ANY = "*"
"""Allows every value."""


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """The events that one identity may write."""

    actor_ids: tuple[str, ...]
    """Values of `actor_id`; `*` allows all."""

    event_categories: tuple[str, ...] = (ANY,)
    """Values of `event_category`; `*` allows all."""


@dataclass(frozen=True, kw_only=True)
class WitnessConfig:
    """A witness that cosigns checkpoints (C2SP tlog-witness)."""

    url: str
    """Submission prefix; `/add-checkpoint` is appended."""

    vkey: str
    """Public key as the witness prints it."""


@dataclass(frozen=True, kw_only=True)
class LedgerConfig:
    shards: Annotated[int, Between(1, 1024)] = 1
    """Independent ledgers; a correlation always belongs to one. Decided by the first process on a database."""

    origin: str = ""
    """Name of the log in its checkpoints, such as `audit.example.com/ledger`. Empty: one is made for the database."""

    key_file: Path | None = None
    """Private keys that sign checkpoints, one a line, as `kubernaut audit keys new` writes them; all sign, so that a
    new key can be added before the old one is removed. Read again when it changes. Without it nothing is signed."""

    checkpoint_interval: Annotated[Seconds, Between(0.1, 3600)] = 10.0
    """Seconds after which a ledger that has grown is signed anew."""

    checkpoint_events: Annotated[int, Between(1, 1_000_000_000)] = 10_000
    """Events after which it is signed sooner."""

    witnesses: tuple[WitnessConfig, ...] = ()
    """Who is asked to cosign each checkpoint."""

    witness_quorum: Annotated[int, Between(0, 100)] = 0
    """Cosignatures that a checkpoint must have before it is served; 0 serves it at once."""


@dataclass(frozen=True, kw_only=True)
class RetentionConfig:
    enabled: bool = True
    """Whether payloads are removed when the `retention_days` of their event have passed since its arrival."""

    interval: Annotated[Seconds, Between(1, 30 * 86400)] = 86400.0
    """Seconds between two runs; the first one is at the start."""

    batch_size: Annotated[int, Between(1, 10_000)] = 1000
    """Events that one transaction removes. A month of more expired events is truncated, if no more must be kept."""


@dataclass(frozen=True, kw_only=True)
class VerificationConfig:
    processes: Annotated[int, Between(0, 64)] = 0
    """Processes that verify a large ledger, each with a connection of its own; 0: as many as there are processors."""

    interval: Annotated[Seconds, Between(0, 30 * 86400)] = 3600.0
    """Seconds between two verifications by the service itself, the first one an interval after its start; 0: none."""

    full_interval: Annotated[Seconds, Between(0, 365 * 86400)] = 7 * 86400.0
    """Seconds after which it verifies everything again instead of what is new; its first one is always full."""


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


@dataclass(frozen=True, kw_only=True)
class DataStorageConfig:
    """Everything that `kubernaut datastorage` reads."""

    kubeconfig: Path | None = None
    """Kubeconfig of the cluster that checks tokens with `auth.mode: kubernetes`; without it the pod's service account
    is used."""

    server: ServerConfig = field(default_factory=ServerConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    actors: dict[str, ActorConfig] = field(default_factory=dict)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    dead_letter_queue: DeadLetterConfig = field(default_factory=DeadLetterConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    tracing: TracingConfig = field(default_factory=TracingConfig)

    def check_actors(self) -> None:
        """Raise SettingsError when actors are given and nobody is authenticated, or the other way round."""
        authenticated = self.auth.mode_on(self.server.host) is not AuthMode.NONE
        if self.actors and not authenticated:
            reason = "they hold for identities, so set auth.mode to kubernetes or tokens"
            raise SettingsError("actors", ", ".join(self.actors), reason)
        if authenticated and not self.actors:
            reason = "without an entry nobody may write: name each writer's identity and its actorIds"
            raise SettingsError("actors", {}, reason)


def _text(key: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(key, str(path), f"failed to read the file: {error}") from error


def _mapping(path: Path) -> dict[str, object]:
    text = _text("database.secretsFile", path)
    try:
        values = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        # The error would quote the file, which holds a password.
        raise SettingsError("database.secretsFile", str(path), "must be YAML or JSON") from None
    if not isinstance(values, dict):
        raise SettingsError("database.secretsFile", str(path), "must be a mapping of keys to values")
    return {str(key): value for key, value in values.items()}
