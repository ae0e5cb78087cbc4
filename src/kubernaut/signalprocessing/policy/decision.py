"""From a policy's answers to a decision: every answer is checked, and what is unusable is replaced and reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernaut.api.signals import BusinessClassification
from kubernaut.api.vocabulary import (
    Criticality,
    Environment,
    EnvironmentSource,
    Priority,
    PrioritySource,
    Severity,
    SeveritySource,
    Sla,
)
from kubernaut.signalprocessing import business, custom_labels
from kubernaut.signalprocessing.policy.facts import Facts
from kubernaut.signalprocessing.policy.sources import Form
from kubernaut.signalprocessing.policy.worker import Fault, Reply, is_decision

VITAL = ("environment", "severity", "priority")
"""Rules without which there is no decision of the policy's own."""

_BY_SEVERITY = {
    "critical": Priority.P1,
    "high": Priority.P1,
    "warning": Priority.P2,
    "medium": Priority.P2,
    "info": Priority.P3,
    "low": Priority.P3,
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A rule that gave no usable answer, and why."""

    rule: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about one signal, all of it by one version of one policy."""

    environment: Environment
    environment_source: str
    severity: Severity
    severity_source: str
    priority: Priority
    priority_source: str
    policy_name: str
    policy_hash: str
    custom_labels: dict[str, list[str]]
    cluster: str = ""
    business: BusinessClassification | None = None
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def vital_failure(self) -> Failure | None:
        """The first failure that made the decision fall back."""
        return next((failure for failure in self.failures if failure.rule in VITAL), None)


class _Unusable(ValueError):
    """An answer that breaks the contract."""


def decide(reply: Reply, facts: Facts, policy_hash: str, form: Form = Form.UNIFIED) -> Decision:
    """The decision; a rule that failed or broke the contract is replaced by its fallback and listed in `failures`."""
    failures: list[Failure] = []
    answers, faults = reply.answers, reply.faults

    def answer(rule: str, check: Any, otherwise: Any) -> Any:  # the two check functions and their answers vary
        if rule in faults:
            failures.append(Failure(rule=rule, message=_text(rule, faults[rule])))
            return otherwise
        try:
            return check(answers.get(rule) or [])
        except _Unusable as error:
            failures.append(Failure(rule=rule, message=str(error)))
            return otherwise

    environment, environment_source = answer("environment", _environment, None) or facts.fallback_environment
    raw = facts.signal.severity
    severity, severity_source = Severity.UNKNOWN, SeveritySource.FALLBACK
    if form is Form.DECEMBER and "severity" not in faults and not answers.get("severity"):
        severity = _copied(raw)
    elif decided := answer("severity", lambda found: _severity(found, raw), None):
        severity, severity_source = decided, SeveritySource.REGO
    priority = answer("priority", _priority, None)
    labels = custom_labels.sanitised(answer("labels", _labels, {}))
    return Decision(
        environment=environment,
        environment_source=environment_source,
        severity=severity,
        severity_source=severity_source,
        priority=priority[0] if priority else _by_severity(severity, raw),
        priority_source=PrioritySource.REGO if priority else PrioritySource.SEVERITY,
        policy_name=priority[1] if priority else "",
        policy_hash=policy_hash,
        custom_labels=labels.labels or custom_labels.fallback(facts.context),
        cluster=answer("cluster", _cluster, ""),
        business=answer("business", _business, None),
        failures=tuple(failures),
        warnings=labels.warnings,
    )


def without_policy(message: str, facts: Facts, policy_hash: str) -> Decision:
    """The decision when the policy did not answer at all."""
    faults = {rule: Fault(message=message) for rule in (*VITAL, "labels")}
    return decide(Reply(faults=faults), facts, policy_hash)


def _by_severity(severity: Severity, raw: str) -> Priority:
    word = raw.strip().lower() if severity is Severity.UNKNOWN else severity.value
    return _BY_SEVERITY.get(word, Priority.P2)


def _text(rule: str, fault: Fault) -> str:
    place = f"{fault.file}:{fault.line}:{fault.column}: " if fault.line else ""
    return f"rego evaluation failed: {rule}: {place}{fault.message}"


def _environment(found: list[Any]) -> tuple[Environment, str] | None:
    """None when the policy leaves it open."""
    if not found:
        return None
    answer = found[0]
    if not isinstance(answer, Mapping):
        raise _Unusable("environment policy returned invalid output structure (expected map)")
    name, source = answer.get("environment"), answer.get("source") or EnvironmentSource.DEFAULT
    environment = business.word(Environment, name)
    if environment is None or not isinstance(source, str):
        allowed = ", ".join(Environment)
        raise _Unusable(f"environment policy returned {name!r}; allowed are {allowed}")
    return (environment, source) if is_decision(environment, source) else None


def _severity(found: list[Any], raw: str) -> Severity:
    if not found:
        raise _Unusable(f'no severity determined by policy for input "{raw}" - add else clause for unmapped values')
    answer = found[0]
    if not isinstance(answer, str):
        raise _Unusable(f"policy returned non-string severity: {type(answer).__name__}")
    try:
        return Severity({"medium": "warning", "low": "info"}.get(answer, answer))
    except ValueError:
        words = "/".join(Severity)
        raise _Unusable(f'policy returned invalid severity "{answer}" - must be {words}') from None


def _copied(raw: str) -> Severity:
    """The policies of December 2025 have no severity rule; the sender's word counts where it is one of ours."""
    return business.word(Severity, {"medium": "warning", "low": "info"}.get(raw.lower(), raw)) or Severity.UNKNOWN


def _priority(found: list[Any]) -> tuple[Priority, str]:
    if not found:
        raise _Unusable("priority policy returned no results - add a `default` rule")
    answer = found[0]
    if not isinstance(answer, Mapping):
        raise _Unusable("priority policy returned invalid output structure (expected map)")
    try:
        priority = Priority(str(answer.get("priority")))
    except ValueError:
        raise _Unusable(f"invalid priority value: {answer.get('priority')} (must be P0, P1, P2, or P3)") from None
    name = answer.get("policy_name", "")
    return priority, name if isinstance(name, str) else ""


def _labels(found: list[Any]) -> Mapping[str, object]:
    answer = found[0] if found else {}
    if not isinstance(answer, Mapping):
        raise _Unusable(f"invalid rego output type: {type(answer).__name__}")
    return answer


def _cluster(found: list[Any]) -> str:
    answer = found[0] if found else ""
    if not isinstance(answer, str):
        raise _Unusable(f"cluster policy returned non-string classification: {type(answer).__name__}")
    return answer


def _business(found: list[Any]) -> BusinessClassification | None:
    answer = found[0] if found else None
    if not isinstance(answer, Mapping):
        return None
    unit, owner = answer.get("business_unit"), answer.get("service_owner")
    return BusinessClassification(
        business_unit=unit if isinstance(unit, str) else "",
        service_owner=owner if isinstance(owner, str) else "",
        criticality=business.word(Criticality, answer.get("criticality")),
        sla_requirement=business.word(Sla, answer.get("sla")),
    )


def required(form: Form) -> tuple[str, ...]:
    """The rules that a policy must have; the files of December 2025 may each be absent, and the mapping decides too."""
    return ("severity", "priority") if form is Form.UNIFIED else ()
