"""The controller's configuration, under the keys of the Go project's `config.yaml`."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from kubernaut.ops.http.limits import HttpLimits
from kubernaut.ops.http.server import Listen
from kubernaut.ops.logs import LogFormat, LogLevel
from kubernaut.ops.settings import Between, Bytes, Seconds, SettingsError, check_url
from kubernaut.signalprocessing.sinks.config import SinkConfig


class OnPolicyError(StrEnum):
    """What happens to a signal whose policy fails."""

    FALLBACK = "fallback"
    FAIL = "fail"


class RecordedEvents(StrEnum):
    """Which Kubernetes Events are written."""

    OUTCOME = "outcome"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """How signals are processed."""

    metrics_addr: str = ":9090"
    """`address:port` of `/metrics`; the same as healthProbeAddr serves both at one."""

    health_probe_addr: str = ":8081"
    """`address:port` of `/healthz` and `/readyz`."""

    port_file: Path | None = None
    """File that gets `address:port` of the health server once it listens."""

    http_limits: HttpLimits = field(default_factory=HttpLimits)
    """What clients may take."""

    workers: Annotated[int, Between(1, 64)] = 4
    """Signals processed at the same time."""

    events: RecordedEvents = RecordedEvents.OUTCOME
    """`outcome` writes one Kubernetes Event for the outcome and one per warning; `all` adds one per transition."""

    max_writes_per_second: Annotated[float, Between(0, 100_000)] = 40.0
    """Writes to the API server per second; a signal takes two, its status and its Kubernetes Event. What exceeds it
    waits; Events beyond 2,000 are dropped. 0 is unlimited."""

    namespace: str = ""
    """Namespace whose signals are processed; empty takes the pod's own, or that of the kubeconfig."""

    replicas: Annotated[int, Between(1, 100)] = 1
    """How many replicas run. With more than one, one of them leads and the others stand by with full caches."""

    leader_election: bool | None = None
    """Whether the replica that holds a Lease leads; unset, that is so with more than one replica."""

    leader_election_id: str = "signalprocessing.kubernaut.ai"
    """Name of that Lease, in the namespace of the signals."""

    identity: str = ""
    """Name of this replica in the Lease, which no other replica may have; empty takes that of the host, in a cluster
    the pod's, and the number of the process."""

    lease_duration: Annotated[Seconds, Between(1, 3600)] = 15.0
    """Seconds after which the Lease of a leader that has died is taken over."""

    renew_deadline: Annotated[Seconds, Between(0.5, 3600)] = 10.0
    """Seconds after which a leader that cannot renew the Lease stops; less than leaseDuration."""

    retry_period: Annotated[Seconds, Between(0.1, 3600)] = 2.0
    """Seconds between two attempts to take or renew the Lease; less than renewDeadline."""

    retention: Seconds = 7 * 86400.0
    """Seconds after which an ended signal and its request are deleted, once DataStorage has acknowledged all of its
    audit events; 0 keeps them for ever."""

    add_finalizer: bool = False
    """Whether the controller gives signals the finalizer `kubernaut.ai/audit-events` that were made without it, at the
    cost of a write for each. The gateway makes its signals with it."""

    def __post_init__(self) -> None:
        if not self.renew_deadline < self.lease_duration:
            raise SettingsError("renewDeadline", self.renew_deadline, "must be less than leaseDuration")
        if not self.retry_period < self.renew_deadline:
            raise SettingsError("retryPeriod", self.retry_period, "must be less than renewDeadline")

    @property
    def elects_leader(self) -> bool:
        """Whether this replica takes part in an election."""
        return self.replicas > 1 if self.leader_election is None else self.leader_election


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Which cluster this is."""

    name: str = ""
    """The `clusterID` of this cluster's signals; those of another cluster are not enriched. Empty: every signal is
    from this cluster."""

    labels: dict[str, str] = field(default_factory=dict)
    """Labels of this cluster, which policies read as `input.cluster.labels`."""

    others: dict[str, dict[str, str]] = field(default_factory=dict)
    """The same of other clusters, by the `clusterID` of their signals."""

    def labels_of(self, cluster_id: str) -> dict[str, str]:
        """The labels of the cluster that a signal is from; none for one that nobody registered."""
        return self.labels if cluster_id in ("", self.name) else self.others.get(cluster_id, {})


@dataclass(frozen=True, kw_only=True)
class EnrichmentConfig:
    """How facts about targets are read."""

    cache_ttl: Annotated[Seconds, Between(0.001, 86400)] = 300.0
    """Seconds that an object of a kind without an informer is cached."""

    timeout: Annotated[Seconds, Between(0.001, 3600)] = 10.0
    """Seconds to enrich one signal."""


class PolicyEngine(StrEnum):
    """What evaluates the policy."""

    BUILTIN = "builtin"
    OPA = "opa"


@dataclass(frozen=True, kw_only=True)
class OpaConfig:
    """The OPA that evaluates the policy where `engine` is `opa`."""

    url: str = "http://127.0.0.1:8181"
    """Address of OPA's REST API; the policy is uploaded to it."""

    timeout: Annotated[Seconds, Between(0.001, 60)] = 1.0
    """Seconds for one request; afterwards the rules fall back."""

    token_file: Path | None = None
    """File with a bearer token for OPA; read again for each request."""

    ca_file: Path | None = None
    """PEM file with the CA certificates of an https `url`; without it, those of the system."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("classifier.opa.url", self.url, "must be an address such as http://127.0.0.1:8181")


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The policy."""

    engine: PolicyEngine = PolicyEngine.BUILTIN
    """`builtin` evaluates in a process of the controller, `opa` in an OPA that runs beside it."""

    opa: OpaConfig = OpaConfig()

    policy_dir: Path | None = Path("/etc/signalprocessing/policies")
    """Directory that holds the policy; null takes the built-in one."""

    rego_config_map_name: str = "signalprocessing-policy"
    """Name of the ConfigMap that is mounted there; used in messages only."""

    rego_config_map_key: str = "policy.rego"
    """Name of the policy's file in that directory."""

    shadow: Path | None = None
    """File or folder with a policy that decides beside the one in force; disagreements are counted and listed, no
    decision is touched. Empty: none."""

    hot_reload_interval: Annotated[Seconds, Between(0.1, 86400)] = 30.0
    """Seconds after which the directory is read again even when no change was reported."""

    on_policy_error: OnPolicyError = OnPolicyError.FALLBACK
    """`fallback` decides by mapping and severity when the policy fails; `fail` fails the signal."""

    evaluation_timeout: Annotated[Seconds, Between(0.001, 60)] = 0.1
    """Processor seconds for one evaluation."""

    deadline: Annotated[Seconds, Between(0.01, 600)] = 5.0
    """Seconds after which a policy that does not answer is killed, whatever the reason."""

    max_memory: Bytes = 1024 * 1024 * 1024
    """Address space of the policy process."""

    signal_modes: Path | None = Path("/etc/signalprocessing/proactive-signal-mappings.yaml")
    """File that maps predicted names to base names; without it every signal is reactive."""

    archive_dir: Path | None = None
    """Directory in which accepted policies are kept, so that a restart goes on with the last good one; null takes the
    spool's directory with `-policies` behind its name."""

    environment_config_map: str = "kubernaut-environment-config"
    """ConfigMap with the environment mapping, in the controller's namespace."""


@dataclass(frozen=True, kw_only=True)
class BufferConfig:
    """How events are batched for DataStorage."""

    batch_size: Annotated[int, Between(1, 1000)] = 100
    """Events in one request."""

    flush_interval: Annotated[Seconds, Between(0.001, 60)] = 0.1
    """Longest time in seconds that an event waits for others in its batch."""

    buffer_size: Annotated[int, Between(1, 10**9)] = 10_000
    """Accepted for compatibility; events wait on disk, bounded by bytes."""

    max_retries: Annotated[int, Between(0, 10**6)] = 3
    """Accepted for compatibility; an event is tried until DataStorage has it."""


@dataclass(frozen=True, kw_only=True)
class DataStorageConfig:
    """Where audit events go."""

    url: str = "http://data-storage-service:8080"
    """Address of DataStorage."""

    health_url: str = ""
    """Address that answers 2xx when DataStorage is ready; empty takes `/readyz` of `url`."""

    timeout: Annotated[Seconds, Between(0.01, 600)] = 10.0
    """Seconds for one request."""

    token_file: Path | None = None
    """File with the bearer token for DataStorage, such as that of the service account; read again when it changes."""

    ca_file: Path | None = None
    """PEM file with the CA certificates of an https `url`; without it, those of the system."""

    buffer: BufferConfig = BufferConfig()
    """Batching."""

    spool_dir: Path = Path("/var/lib/signalprocessing/spool")
    """Directory in which events wait on disk until DataStorage has them."""

    drain_timeout: Seconds = 10.0
    """Seconds to wait for the last events at shutdown; keep below the pod's grace period."""

    def __post_init__(self) -> None:
        check_url("url", self.url)
        if self.health_url:
            check_url("healthUrl", self.health_url)


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    level: LogLevel = LogLevel.INFO
    """DEBUG, INFO, WARN or ERROR."""

    format: LogFormat = LogFormat.AUTO
    """`json`, `console`, or `auto`."""

    max_lines_per_second: Annotated[int, Between(0, 10**6)] = 0
    """DEBUG and INFO lines of one kind that are written in a second, 0 for all; how many were left out is said."""


@dataclass(frozen=True, kw_only=True)
class SignalProcessingConfig:
    """The controller's configuration."""

    kubeconfig: Path | None = None
    """File that names the cluster; without it the pod's service account does."""

    controller: ControllerConfig = ControllerConfig()
    cluster: ClusterConfig = ClusterConfig()
    enrichment: EnrichmentConfig = EnrichmentConfig()
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    datastorage: DataStorageConfig = DataStorageConfig()
    sinks: tuple[SinkConfig, ...] = ()
    """Receivers of finished signals, as CloudEvents over HTTP."""

    sink_dir: Path = Path("/var/lib/signalprocessing/sinks")
    """Directory with one file for each sink, in which events wait until they are delivered."""

    logging: LoggingConfig = LoggingConfig()

    def __post_init__(self) -> None:
        names = [sink.name for sink in self.sinks]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError("sinks", twice, "two sinks have this name")


def listen_address(address: str, port_file: Path | None = None) -> Listen:
    """The parsed form of `:9090` or `127.0.0.1:0`; raises SettingsError when there is no port."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise SettingsError("controller", address, "must be an address such as :9090 or 127.0.0.1:0")
    return Listen(host=host.strip("[]") or "0.0.0.0", port=int(port), port_file=port_file)  # noqa: S104 - as in Go
