"""The values that status and audit trail use, each defined once.

The status spells environments, criticality and SLA in Pascal case and severities in lower case; the trail spells
everything in lower case. Both spellings come from here, so that no value can exist in one and be dropped by the other.
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where a signal stands. `Completed` and `Failed` are final."""

    PENDING = "Pending"
    ENRICHING = "Enriching"
    CLASSIFYING = "Classifying"
    CATEGORIZING = "Categorizing"
    COMPLETED = "Completed"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        return self in (Phase.COMPLETED, Phase.FAILED)


class Environment(StrEnum):
    PRODUCTION = "Production"
    STAGING = "Staging"
    DEVELOPMENT = "Development"
    TEST = "Test"
    UNKNOWN = "Unknown"


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    WARNING = "warning"
    INFO = "info"
    UNKNOWN = "unknown"


class Priority(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Criticality(StrEnum):
    CRITICAL = "Critical"
    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"


class Sla(StrEnum):
    PLATINUM = "Platinum"
    GOLD = "Gold"
    SILVER = "Silver"
    BRONZE = "Bronze"


class SignalMode(StrEnum):
    REACTIVE = "reactive"
    PROACTIVE = "proactive"


class TargetType(StrEnum):
    KUBERNETES = "kubernetes"
    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"
    DATADOG = "datadog"


class EnvironmentSource(StrEnum):
    """Who decided the environment."""

    NAMESPACE_LABELS = "namespace-labels"
    REGO = "rego-inference"
    CONFIGMAP = "configmap"
    DEFAULT = "default"


class PrioritySource(StrEnum):
    """Who decided the priority."""

    REGO = "rego-policy"
    SEVERITY = "fallback-severity"


class SeveritySource(StrEnum):
    """Who decided the severity."""

    REGO = "rego-policy"
    FALLBACK = "fallback"


class EventOutcome(StrEnum):
    """`event_outcome` of an audit event."""

    SUCCESS = "success"
    FAILURE = "failure"
    PENDING = "pending"


class EventCategory(StrEnum):
    """`event_category` of an audit event: the domains that all services of Kubernaut share."""

    GATEWAY = "gateway"
    NOTIFICATION = "notification"
    ANALYSIS = "analysis"
    AI_AGENT = "aiagent"
    SIGNAL_PROCESSING = "signalprocessing"
    WORKFLOW = "workflow"
    EXECUTION = "execution"
    WORKFLOW_EXECUTION = "workflowexecution"
    ORCHESTRATION = "orchestration"
    APPROVAL = "approval"
    EFFECTIVENESS = "effectiveness"
    ACTION_TYPE = "actiontype"
    API_FRONTEND = "apifrontend"
    SECURITY = "security"
    AGENT_SESSION = "agentsession"


EVENT_CATEGORIES = frozenset(EventCategory)

EMITTERS = (
    "actiontype",
    "agentsession",
    "aianalysis",
    "aiagent",
    "apifrontend",
    "authwebhook",
    "datastorage",
    "effectiveness",
    "gateway",
    "notification",
    "orchestrator",
    "remediation",
    "remediationworkflow",
    "signalprocessing",
    "webhook",
    "workflow",
    "workflowexecution",
)
"""The first part of every shared `event_type`: who writes it."""


class ConditionType(StrEnum):
    ENRICHMENT = "EnrichmentComplete"
    CLASSIFICATION = "ClassificationComplete"
    CATEGORIZATION = "CategorizationComplete"
    PROCESSING = "ProcessingComplete"
    READY = "Ready"


class ConditionReason(StrEnum):
    """Reasons of conditions."""

    ENRICHMENT_SUCCEEDED = "EnrichmentSucceeded"
    DEGRADED_MODE = "DegradedMode"
    ENRICHMENT_FAILED = "EnrichmentFailed"
    CLASSIFICATION_SUCCEEDED = "ClassificationSucceeded"
    CLASSIFICATION_FAILED = "ClassificationFailed"
    REGO_EVALUATION_ERROR = "RegoEvaluationError"
    POLICY_FALLBACK = "PolicyFallback"
    CATEGORIZATION_SUCCEEDED = "CategorizationSucceeded"
    CATEGORIZATION_FAILED = "CategorizationFailed"
    PROCESSING_SUCCEEDED = "ProcessingSucceeded"
    PROCESSING_FAILED = "ProcessingFailed"
    TIMED_OUT = "TimedOut"
    READY = "Ready"
    NOT_READY = "NotReady"


class EventReason(StrEnum):
    """Reasons of the Kubernetes Events that the controller records."""

    PHASE_TRANSITION = "PhaseTransition"
    SIGNAL_ENRICHED = "SignalEnriched"
    ENRICHMENT_DEGRADED = "EnrichmentDegraded"
    ENRICHMENT_FAILED = "EnrichmentFailed"
    UNSUPPORTED_TARGET_TYPE = "UnsupportedTargetType"
    POLICY_EVALUATION_FAILED = "PolicyEvaluationFailed"
    SIGNAL_PROCESSED = "SignalProcessed"
    SIGNAL_FAILED = "SignalFailed"
    POLICY_LOADED = "PolicyLoaded"
    POLICY_REJECTED = "PolicyRejected"
    PROCESSING_TIMED_OUT = "ProcessingTimedOut"
    SIGNAL_UNREADABLE = "SignalUnreadable"


class EventType(StrEnum):
    """`event_type` of the audit events that our services write."""

    PHASE_TRANSITION = "signalprocessing.phase.transition"
    """A signal entered a phase."""
    ENRICHMENT_COMPLETED = "signalprocessing.enrichment.completed"
    """What was found out about the target, or why not (`degraded_mode`)."""
    CLASSIFICATION_DECISION = "signalprocessing.classification.decision"
    """Severity, environment and priority, with the policy and what they were made from."""
    BUSINESS_CLASSIFIED = "signalprocessing.business.classified"
    """Business unit, criticality and service level."""
    SIGNAL_PROCESSED = "signalprocessing.signal.processed"
    """The signal is finished; the whole decision in one event."""
    ERROR_OCCURRED = "signalprocessing.error.occurred"
    """An attempt of a phase failed."""
    POLICY_LOADED = "signalprocessing.policy.loaded"
    """A version of the policy decides from now on; its text and what differs."""
    POLICY_REJECTED = "signalprocessing.policy.rejected"
    """A version of the policy was rejected; its text, why, and what stays in force."""
    SIGNAL_RECEIVED = "gateway.signal.received"
    """The first alert of a signal; parent of all that follows."""
    SIGNAL_DEDUPLICATED = "gateway.signal.deduplicated"
    """A further alert that was folded into the signal, or, with `alert_status: resolved`, the end of one."""


class Label(StrEnum):
    """Labels and annotations with a meaning to us."""

    ENVIRONMENT = "kubernaut.ai/environment"
    BUSINESS_UNIT = "kubernaut.ai/business-unit"
    SERVICE_OWNER = "kubernaut.ai/service-owner"
    TEAM = "kubernaut.ai/team"
    TIER = "kubernaut.ai/tier"
    COST_CENTER = "kubernaut.ai/cost-center"
    REGION = "kubernaut.ai/region"
    RESOLVED_AT = "kubernaut.ai/resolved-at"
    OCCURRENCES = "kubernaut.ai/occurrences"
    """How many occurrences the request of a signal has counted; absent until the second where an orchestrator made the
    signal."""
    FOLD_KEY = "kubernaut.ai/fold-key"
    """The same for alerts that are one signal while it is open."""
    SUPERSEDES = "kubernaut.ai/supersedes"
    """The request whose alert has become more severe."""
    SUPERSEDED_BY = "kubernaut.ai/superseded-by"
    TARGET_NOTE = "kubernaut.ai/target-note"
    """Why the target may not be what the alert means; makes the signal degraded."""


AUDIT_ENVIRONMENT_SOURCES: dict[str, str] = {
    EnvironmentSource.NAMESPACE_LABELS: "labels",
    EnvironmentSource.REGO: "rego",
    EnvironmentSource.CONFIGMAP: "configmap",
    EnvironmentSource.DEFAULT: "default",
}
"""The source in the status to the source in audit events; a policy's own source becomes `rego`."""

AUDIT_PRIORITY_SOURCES: dict[str, str] = {PrioritySource.REGO: "rego", PrioritySource.SEVERITY: "severity"}
"""The source in the status to the source in audit events."""

AUDIT_VALUES: dict[str, frozenset[str]] = {
    "severity": frozenset(Severity),
    "normalized_severity": frozenset(Severity),
    "determination_source": frozenset({"rego-policy", "fallback", "default"}),
    "environment": frozenset({"production", "staging", "development"}),
    "environment_source": frozenset({"rego", "labels", "default"}),
    "priority": frozenset({"P0", "P1", "P2", "P3", "P4"}),
    "priority_source": frozenset({"rego", "severity", "default"}),
    "criticality": frozenset({"critical", "high", "warning", "low"}),
    "signal_mode": frozenset(SignalMode),
}
"""The values that every service of Kubernaut reads under these keys of `event_data`; others are left out there."""
