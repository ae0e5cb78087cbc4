"""The status of a signal that has been classified."""

from datetime import datetime

import msgspec

from kubernaut.api.signals import (
    EnvironmentClassification,
    KubernetesContext,
    PriorityAssignment,
    SignalClassification,
    SignalStatus,
)
from kubernaut.api.vocabulary import Phase, SeveritySource, SignalMode
from kubernaut.signalprocessing.policy.decision import Decision
from kubernaut.signalprocessing.signal_mode import ResolvedMode

UNKNOWN_CONTEXT = KubernetesContext(degraded_mode=True)


def classified(status: SignalStatus, decision: Decision, mode: ResolvedMode, now: datetime) -> SignalStatus:
    """The status with the decision in it, in the phase that follows."""
    context = status.kubernetes_context or UNKNOWN_CONTEXT
    return msgspec.structs.replace(
        status,
        phase=Phase.CATEGORIZING,
        kubernetes_context=msgspec.structs.replace(context, custom_labels=decision.custom_labels),
        environment_classification=EnvironmentClassification(
            environment=decision.environment,
            source=decision.environment_source,
            classified_at=now,
            fallback=decision.fallback_environment,
        ),
        priority_assignment=PriorityAssignment(
            priority=decision.priority,
            source=decision.priority_source,
            assigned_at=now,
            policy_name=decision.policy_name,
        ),
        signal_classification=SignalClassification(
            severity=decision.severity,
            severity_source=decision.severity_source,
            policy_hash=decision.policy_hash,
            cluster_classification=decision.cluster,
            signal_mode=mode.mode,
            signal_name=mode.name,
            source_signal_name=mode.source_name,
        ),
        # The policy's part of the business class is kept here for the next phase, which must use the same version.
        business_classification=decision.business,
    )


def summary(decision: Decision, mode: ResolvedMode) -> str:
    """The decision as the condition's message."""
    severity_source = decision.severity_source or SeveritySource.REGO
    text = (
        f"Classified: environment={decision.environment} (source={decision.environment_source}),"
        f" priority={decision.priority} (source={decision.priority_source}),"
        f" severity={decision.severity} (source={severity_source})"
    )
    if mode.mode is SignalMode.PROACTIVE:
        text += f", signalMode=proactive (normalized: {mode.source_name} → {mode.name})"
    return text
