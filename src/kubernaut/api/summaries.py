"""What people read of a signal, in words. Pure."""

from datetime import datetime

from kubernaut.api.remediation import Deduplication, RemediationRequest
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import Label

_ENVIRONMENT_SOURCES = {
    "namespace-labels": "namespace label",
    "configmap": "ConfigMap",
    "default": "no rule applies",
}


def team(signal: SignalProcessing) -> str:
    """The team that the policy names, else the business unit; empty when there is none."""
    context, business = signal.status.kubernetes_context, signal.status.business_classification
    named = context.custom_labels.get("team", []) if context else []
    return named[0] if named else (business.business_unit if business and business.business_unit else "")


def target(signal: SignalProcessing) -> str:
    """The target as `namespace/Kind/name`, without what it does not have."""
    resource = signal.spec.signal.target_resource
    return "/".join(part for part in (resource.namespace, resource.kind, resource.name) if part)


def occurrence_count(deduplication: Deduplication) -> str:
    """How many occurrences were counted; `10000+` where that is a minimum."""
    return f"{deduplication.occurrence_count}{'+' if deduplication.overflow else ''}"


def resolved_at(signal: SignalProcessing, request: RemediationRequest | None) -> datetime | None:
    """When the sender said that the alerts of a signal are over; None while it is open."""
    annotations = signal.metadata.annotations
    if request is not None:
        annotations = request.metadata.annotations | annotations
    try:
        return datetime.fromisoformat(annotations[Label.RESOLVED_AT])
    except (KeyError, ValueError):
        return None


def is_in(signal: SignalProcessing, namespace: str | None) -> bool:
    """Whether a signal, or what it is about, is in a namespace; None is every one."""
    return namespace is None or namespace in (signal.metadata.namespace, signal.spec.signal.target_resource.namespace)


def age(since: datetime, now: datetime) -> str:
    """As kubectl shows it: `42s`, `5m`, `3h`, `12d`."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def reasons(signal: SignalProcessing) -> list[str]:
    """Environment and severity with where they come from, the rule, and what was missing."""
    status = signal.status
    environment, severity, rule = (
        status.environment_classification,
        status.signal_classification,
        status.priority_assignment,
    )
    said = []
    if environment is not None:
        source = _ENVIRONMENT_SOURCES.get(environment.source, environment.source)
        said.append(f"{environment.environment} ({source})")
    if severity is not None and severity.severity is not None:
        sent = signal.spec.signal.severity
        said.append(f"{severity.severity}{f' (from {sent})' if sent != severity.severity else ''}")
    if rule is not None:
        said.append(f"rule {rule.policy_name}" if rule.policy_name else rule.source)
    context = status.kubernetes_context
    if context is not None and context.degraded_mode:
        kind = signal.spec.signal.target_resource.kind
        said.append(f"{kind} not found" if context.workload is None else "context degraded")
    return said
