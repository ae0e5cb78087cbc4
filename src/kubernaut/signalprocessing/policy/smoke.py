"""A smoke test: representative signals that a new policy is evaluated for before it decides anything.

Parsing finds little: an unsafe variable, an unknown function, two rules that contradict each other or a rule that never
ends show only when the policy runs. A policy is rejected when a required rule is undefined for all of these signals, or
when one of them stops it. One that is undefined for some is accepted; those signals get the fallback.
"""

from datetime import UTC, datetime
from itertools import product

from kubernaut.api.signals import KubernetesContext, NamespaceContext, Signal, Target, WorkloadContext
from kubernaut.api.vocabulary import Label, TargetType
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput, encode
from kubernaut.signalprocessing.policy.process import PolicyProcess
from kubernaut.signalprocessing.policy.protocol import RuleError
from kubernaut.signalprocessing.policy.sources import Sources

_ENVIRONMENTS = ("production", "Staging", "development", "test", "qa", "")
_SEVERITIES = ("critical", "High", "warning", "info", "Sev1", "P3", "no such severity")


def representative_inputs() -> list[PolicyInput]:
    """Every environment with every severity, a missing target, and one without a namespace."""
    inputs = [_input(severity, environment) for environment, severity in product(_ENVIRONMENTS, _SEVERITIES)]
    node = KubernetesContext(workload=WorkloadContext(kind="Node", name="node-1", labels={"zone": "a"}))
    degraded = KubernetesContext(namespace=NamespaceContext(name="shop"), degraded_mode=True)
    empty = KubernetesContext(degraded_mode=True)
    return [*inputs, *(PolicyInput(signal=_signal("critical"), context=context) for context in (node, degraded, empty))]


async def check(process: PolicyProcess, sources: Sources) -> None:
    """Raise PolicyError when the policy cannot decide."""
    defined: set[str] = set()
    first_errors: dict[str, RuleError] = {}
    for policy_input in representative_inputs():
        evaluation = await process.evaluate(encode(policy_input, sources.form))
        defined |= {rule for rule, values in evaluation.results.items() if values}
        for rule, error in evaluation.errors.items():
            first_errors.setdefault(rule, error)
    for rule, error in first_errors.items():
        if rule not in defined or error.line:
            raise PolicyError(f"{rule}: {error.message}", file=error.file, line=error.line, column=error.column)
    missing = [rule for rule in decision.required_rules(sources.form) if rule not in defined]
    if missing:
        raise PolicyError(
            f"required rules of package signalprocessing are undefined for every test signal: {', '.join(missing)}",
            file=sources.files[0][0],
        )


def _input(severity: str, environment: str) -> PolicyInput:
    labels = {Label.ENVIRONMENT.value: environment, Label.TEAM.value: "payments"} if environment else {}
    context = KubernetesContext(
        namespace=NamespaceContext(name=f"shop-{environment.lower()}", labels=labels),
        workload=WorkloadContext(kind="Pod", name="api-7d-x", labels={"app": "api"}),
    )
    return PolicyInput(signal=_signal(severity), context=context)


def _signal(severity: str) -> Signal:
    return Signal(
        fingerprint="0" * 64,
        name="HighMemoryUsage",
        severity=severity,
        type="alert",
        source="prometheus",
        target_type=TargetType.KUBERNETES,
        target_resource=Target(kind="Pod", name="api-7d-x", namespace="shop"),
        received_time=datetime(2026, 1, 1, tzinfo=UTC),
        labels={"alertname": "HighMemoryUsage"},
    )
