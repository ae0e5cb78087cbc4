"""Configuration of the gateway."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from kubernaut.audit import AuditConfig, ClientConfig, SpoolConfig
from kubernaut.gateway.folding import FoldBy
from kubernaut.ops.http.auth_config import AuthConfig
from kubernaut.ops.http.limits import HttpLimits
from kubernaut.ops.http.server import Listen
from kubernaut.ops.http.tls import TlsConfig
from kubernaut.ops.logs import LogFormat, LogLevel
from kubernaut.ops.settings import Between, Bytes, Seconds

CLUSTER_LABEL = "cluster"
HEARTBEATS = ("Watchdog", "*DeadMan*Switch", "DeadMansSnitch")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The webhook's server."""

    host: str = "127.0.0.1"
    """Address to bind; a pod sets 0.0.0.0."""

    port: Annotated[int, Between(0, 65535)] = 8080
    """TCP port of the webhook, of health and of metrics; 0 takes a free one."""

    port_file: Path | None = None
    """File that gets `host:port` once the gateway listens."""

    tls: TlsConfig = field(default_factory=TlsConfig)

    max_body_size: Annotated[Bytes, Between(1024, 2**28)] = 2**25
    """Largest body of a notification in bytes, after decompression; a larger one is answered with 413, and an
    Alertmanager drops its alerts."""

    timeout: Annotated[Seconds, Between(0.1, 600)] = 8.0
    """Seconds for one notification; keep below Alertmanager's own timeout of 10 s, so that it gets a response."""

    clock_skew: Annotated[Seconds, Between(0, 86400)] = 300.0
    """Seconds that the X-Timestamp header may differ from the gateway's clock."""

    http_limits: HttpLimits = field(default_factory=HttpLimits)
    """What clients may take."""

    shutdown_timeout: Annotated[Seconds, Between(0, 600)] = 10.0
    """Seconds for requests in flight at shutdown."""

    def listen(self) -> Listen:
        return Listen(host=self.host, port=self.port, port_file=self.port_file, tls=self.tls)


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Which cluster this is."""

    label: str = CLUSTER_LABEL
    """Label that says which cluster an alert is from; it is recorded, and alerts of two clusters never fold. Empty: no
    label does."""

    name: str = ""
    """What that label says for this cluster; empty takes every alert to be from this cluster."""

    def is_local(self, cluster: str) -> bool:
        """Whether an alert from that cluster is about objects of this one."""
        return not self.name or cluster in ("", self.name)


@dataclass(frozen=True, kw_only=True)
class KubernetesEventsConfig:
    """Which Events of the cluster are taken in as alerts."""

    types: tuple[str, ...] = ()
    """Types such as Warning; empty watches none."""

    namespaces: tuple[str, ...] = ()
    """Namespaces of the objects that they are about; empty takes all."""


@dataclass(frozen=True, kw_only=True)
class IntakeConfig:
    """How alerts become objects."""

    labels: dict[str, str] = field(default_factory=dict)
    """Labels that name a target, as `label: Kind.version.group`, before the built-in ones; an empty kind takes one out.
    """

    fold_by: FoldBy = FoldBy.ALERT
    """`alert` makes one signal of the alerts of one name about one workload, `workload` one of all alerts about it, as
    the Go project does."""

    ignore: tuple[str, ...] = HEARTBEATS
    """Names of alerts that always fire, as patterns with `*`; they open no signal and set
    `gateway_heartbeat_timestamp_seconds`."""

    kubernetes_events: KubernetesEventsConfig = field(default_factory=KubernetesEventsConfig)

    namespace: str = ""
    """Namespace of the objects, the controller's; empty takes the pod's own, or that of the kubeconfig."""

    create_parents: bool = True
    """Create the signal together with its request; false where an orchestrator creates it from the request."""

    audit_finalizer: bool = True
    """Give signals a finalizer, so that one that is deleted stays until the controller has recorded its audit events;
    false where the controller is not ours, as nobody would remove it."""

    resolve_timeout: Annotated[Seconds, Between(60, 2**31)] = 86400.0
    """Seconds without an occurrence after which a request counts as resolved although no alert said so; keep above
    Alertmanager's repeat_interval."""

    max_writes_per_second: Annotated[float, Between(0, 100_000)] = 55.0
    """Writes to the API server per second; a new signal takes three. What cannot be written in time is answered with
    503 and comes again. Together with the controller's limit it is less than 100. 0 is unlimited."""

    max_remembered: Annotated[int, Between(0, 10**7)] = 100_000
    """Requests whose signal is known to exist; for others, a repeated alert costs one more write."""


@dataclass(frozen=True, kw_only=True)
class DataStorageConfig:
    """Where audit events go."""

    url: str = "http://data-storage-service:8080"
    """Address of DataStorage."""

    timeout: Annotated[Seconds, Between(0.01, 600)] = 10.0
    """Seconds for one request."""

    token_file: Path | None = None
    """File with the bearer token for DataStorage, such as that of the service account; read again when it changes."""

    ca_file: Path | None = None
    """PEM file with the CA certificates of an https `url`; without it, those of the system."""

    spool_dir: Path = Path("/var/lib/gateway/spool")
    """Directory of the spool, which keeps events until DataStorage has stored them."""

    spool_max_size: Annotated[Bytes, Between(2**20, 2**40)] = 2**30
    """Bytes of events that may wait in the spool; beyond that alerts are answered with 503."""

    drain_timeout: Annotated[Seconds, Between(0, 600)] = 10.0
    """Seconds to deliver the last events at shutdown; keep below the pod's grace period."""

    def audit(self) -> AuditConfig:
        return AuditConfig(
            spool=SpoolConfig(directory=self.spool_dir, max_bytes=self.spool_max_size),
            client=ClientConfig(url=self.url, timeout=self.timeout, token_file=self.token_file, ca_file=self.ca_file),
            drain_timeout=self.drain_timeout,
        )


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    level: LogLevel = LogLevel.INFO
    """DEBUG, INFO, WARN or ERROR."""

    format: LogFormat = LogFormat.AUTO
    """`json`, `console`, or `auto`."""


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """The gateway's configuration."""

    kubeconfig: Path | None = None
    """Kubeconfig of the cluster; without it the pod's service account is used."""

    server: ServerConfig = field(default_factory=ServerConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    datastorage: DataStorageConfig = field(default_factory=DataStorageConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
