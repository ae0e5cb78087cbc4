"""The `SignalProcessing` object: one alert, what was found out about its target, and what was decided.

The spec is written once by whoever raises the signal and never changes. The status belongs to the controller.
The CRD manifest is derived from these types (`kubernaut.api.crds`), so a limit stated here is enforced by the API
server.
"""

from typing import Annotated

from msgspec import Meta, field

from kubernaut.api.meta import Condition, ObjectMeta, Time, Wire
from kubernaut.api.vocabulary import (
    Criticality,
    Environment,
    EnvironmentSource,
    Phase,
    Priority,
    Severity,
    SignalMode,
    Sla,
    TargetType,
)

GROUP = "kubernaut.ai"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SignalProcessing"
PLURAL = "signalprocessings"

FINALIZER = "kubernaut.ai/audit-events"
"""Keeps a deleted signal until the controller has recorded its audit events, and DataStorage has acknowledged them."""

Fingerprint = Annotated[
    str,
    Meta(
        max_length=64,
        pattern="^[a-f0-9]{64}$",
        description="SHA-256 in lower-case hex that identifies the alert.",
    ),
]


class ParentReference(Wire, frozen=True):
    """The RemediationRequest that a signal belongs to; its name is the correlation id of the audit trail."""

    name: Annotated[str, Meta(max_length=253, pattern=r"^[^\x00-\x1f]*$")]
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    uid: str = ""


class Target(Wire, frozen=True):
    """The object that the alert is about."""

    kind: str
    name: str
    namespace: Annotated[str, Meta(description="Empty for a cluster-scoped object.")] = ""
    api_version: Annotated[str, Meta(description="Tells kinds of the same name apart; empty where nobody said.")] = ""


class Signal(Wire, frozen=True):
    """One alert as it came in; labels and annotations are the sender's and are not trusted."""

    fingerprint: Fingerprint
    name: Annotated[str, Meta(max_length=253)]
    severity: Annotated[str, Meta(description="As the source spells it; the policy normalises it.")]
    type: str
    target_type: TargetType
    target_resource: Target
    received_time: Time
    source: Annotated[str, Meta(max_length=63)] = ""
    cluster_id: Annotated[str, Meta(max_length=253, description="Empty for the cluster we run in.")] = field(
        default="", name="clusterID"
    )
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    firing_time: Time | None = None
    provider_data: Annotated[str, Meta(description="JSON text of the source, unread.")] = ""


class EnrichmentConfig(Wire, frozen=True):
    """Accepted for compatibility with the Go project; the controller reads none of it."""

    enable_cluster_state: bool = False
    enable_metrics: bool = False
    enable_historical: bool = False
    timeout: str = ""


class SignalSpec(Wire, frozen=True):
    """What is to be processed; immutable."""

    remediation_request_ref: ParentReference
    signal: Signal
    enrichment_config: EnrichmentConfig | None = None
    times_out_at: Annotated[Time, Meta(description="When the signal fails if it has not ended.")] | None = None


class NamespaceContext(Wire, frozen=True):
    """The target's namespace."""

    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class WorkloadContext(Wire, frozen=True):
    """The target itself."""

    kind: str
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class OwnerChainEntry(Wire, frozen=True):
    """One hop of the owner chain, nearest first; `note` says why the walk ended here, when it had to."""

    kind: str
    name: str
    namespace: str = ""
    api_version: str = field(default="", name="api_version")
    note: str = ""


class DetectedLabels(Wire, frozen=True):
    """What was detected about the workload.

    A false or absent value means "no" only when its field is not listed in `failed_detections`.
    """

    failed_detections: list[str] = []
    git_ops_managed: bool = False
    git_ops_tool: str = ""
    pdb_protected: bool = False
    hpa_enabled: bool = False
    stateful: bool = False
    helm_managed: bool = False
    network_isolated: bool = False
    service_mesh: str = ""
    resource_quota_constrained: bool = False


class ClusterContext(Wire, frozen=True):
    labels: dict[str, str] = {}


class KubernetesContext(Wire, frozen=True):
    """Facts about the target; `degraded_mode` says that some could not be found."""

    cluster_id: str = field(default="", name="clusterID")
    cluster: ClusterContext | None = None
    namespace: NamespaceContext | None = None
    workload: WorkloadContext | None = None
    owner_chain: list[OwnerChainEntry] = []
    detected_labels: DetectedLabels | None = None
    custom_labels: dict[str, list[str]] = {}
    degraded_mode: bool = False


class RecoveryContext(Wire, frozen=True):
    """What earlier attempts at the same remediation came to; absent for a first attempt."""

    previous_remediation_id: str = ""
    attempt_count: Annotated[int, Meta(ge=0)] = 0
    last_failure_reason: str = ""
    time_since_first_failure: Annotated[str, Meta(description="Duration such as 12m30s.")] = ""


class FallbackEnvironment(Wire, frozen=True):
    """The environment that holds where the policy leaves it open; written even where the policy did not."""

    environment: Environment
    source: Annotated[EnvironmentSource, Meta(description="configmap or default.")]


class EnvironmentClassification(Wire, frozen=True):
    environment: Environment
    source: Annotated[str, Meta(description="namespace-labels, rego-inference, configmap, default or the policy's.")]
    classified_at: Time
    fallback: FallbackEnvironment | None = None


class PriorityAssignment(Wire, frozen=True):
    priority: Priority
    source: str
    assigned_at: Time
    policy_name: Annotated[str, Meta(description="The policy's own name of the rule that decided.")] = ""


class BusinessClassification(Wire, frozen=True):
    business_unit: str = ""
    service_owner: str = ""
    criticality: Criticality | None = None
    sla_requirement: Sla | None = None


class SignalClassification(Wire, frozen=True):
    """What the signal means, in normalised words."""

    severity: Severity | None = None
    severity_source: Annotated[str, Meta(description="rego-policy or fallback.")] = ""
    policy_hash: Annotated[str, Meta(description="SHA-256 in hex of the policy that decided.")] = ""
    cluster_classification: str = ""
    signal_mode: SignalMode | None = None
    signal_name: str = ""
    source_signal_name: Annotated[str, Meta(description="The original name of a proactive signal.")] = ""


class FailureInfo(Wire, frozen=True):
    error: str = ""
    consecutive_failures: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    last_failure_time: Time | None = None


class SignalStatus(Wire, frozen=True):
    """What the controller found and decided; times are to the microsecond."""

    observed_generation: int = 0
    phase: Phase | None = None
    start_time: Time | None = None
    completion_time: Time | None = None
    kubernetes_context: KubernetesContext | None = None
    recovery_context: RecoveryContext | None = None
    environment_classification: EnvironmentClassification | None = None
    priority_assignment: PriorityAssignment | None = None
    business_classification: BusinessClassification | None = None
    signal_classification: SignalClassification | None = None
    conditions: list[Condition] = []
    failure_info: FailureInfo | None = None

    def condition(self, type: str) -> Condition | None:
        """The condition of that type, if it was ever set."""
        return next((condition for condition in self.conditions if condition.type == type), None)


class SignalProcessing(Wire, frozen=True):
    """The object as the API server keeps it."""

    spec: SignalSpec
    metadata: ObjectMeta = ObjectMeta()
    status: SignalStatus = SignalStatus()
    api_version: str = API_VERSION
    kind: str = KIND
