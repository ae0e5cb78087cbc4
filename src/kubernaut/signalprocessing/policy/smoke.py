"""Representative signals that a new policy is asked about before it decides anything.

Parsing finds little: an unsafe variable, an unknown function, two rules that contradict each other or a rule that never
ends show only when the policy runs. A policy is refused when a vital rule answers none of these signals, or when one of
them stops it. One that lacks an answer for some is let in; the signals it fails fall back and say so.
"""

from datetime import UTC, datetime
from itertools import product

from kubernaut.api.signals import KubernetesContext, NamespaceContext, Signal, Target, WorkloadContext
from kubernaut.api.vocabulary import Label, TargetType
from kubernaut.signalprocessing.policy import decision
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.facts import Facts, document
from kubernaut.signalprocessing.policy.process import PolicyProcess
from kubernaut.signalprocessing.policy.sources import Sources
from kubernaut.signalprocessing.policy.worker import Fault

_ENVIRONMENTS = ("production", "Staging", "development", "test", "qa", "")
_SEVERITIES = ("critical", "High", "warning", "info", "Sev1", "P3", "no such severity")


def representative() -> list[Facts]:
    """Every environment with every severity, a target that vanished, and one without a namespace."""
    facts = [_facts(severity, environment) for environment, severity in product(_ENVIRONMENTS, _SEVERITIES)]
    node = KubernetesContext(workload=WorkloadContext(kind="Node", name="node-1", labels={"zone": "a"}))
    degraded = KubernetesContext(namespace=NamespaceContext(name="shop"), degraded_mode=True)
    empty = KubernetesContext(degraded_mode=True)
    return [*facts, *(Facts(signal=_signal("critical"), context=context) for context in (node, degraded, empty))]


async def check(process: PolicyProcess, sources: Sources) -> None:
    """Raise PolicyError when the policy is of no use."""
    answered: set[str] = set()
    first_fault: dict[str, Fault] = {}
    for facts in representative():
        reply = await process.ask(document(facts, sources.form))
        answered |= {rule for rule, found in reply.answers.items() if found}
        for rule, fault in reply.faults.items():
            first_fault.setdefault(rule, fault)
    for rule, fault in first_fault.items():
        if rule not in answered or fault.line:
            raise PolicyError(f"{rule}: {fault.message}", file=fault.file, line=fault.line, column=fault.column)
    missing = [rule for rule in decision.required(sources.form) if rule not in answered]
    if missing:
        file = sources.files[0][0]
        raise PolicyError(
            f"no rule {' and no rule '.join(missing)} in package signalprocessing answers any signal", file=file
        )


def _facts(severity: str, environment: str) -> Facts:
    labels = {Label.ENVIRONMENT.value: environment, Label.TEAM.value: "payments"} if environment else {}
    context = KubernetesContext(
        namespace=NamespaceContext(name=f"shop-{environment.lower()}", labels=labels),
        workload=WorkloadContext(kind="Pod", name="api-7d-x", labels={"app": "api"}),
    )
    return Facts(signal=_signal(severity), context=context)


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
