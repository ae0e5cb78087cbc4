"""From the results of a policy to a decision: every result is checked; an invalid one is replaced and reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kubernaut.api.signals import BusinessClassification, FallbackEnvironment
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
from kubernaut.signalprocessing import custom_labels
from kubernaut.signalprocessing.business import parse_enum
from kubernaut.signalprocessing.policy.environment import is_decided
from kubernaut.signalprocessing.policy.errors import PolicyError
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.policy.protocol import Evaluation, RuleError
from kubernaut.signalprocessing.policy.sources import Form
from kubernaut.signalprocessing.policy.text import bounded, shown

T = TypeVar("T")

REQUIRED_RULES = ("environment", "severity", "priority")
"""Rules whose failure makes the decision a fallback."""

_BY_SEVERITY = {
    "critical": Priority.P1,
    "high": Priority.P1,
    "warning": Priority.P2,
    "medium": Priority.P2,
    "info": Priority.P3,
    "low": Priority.P3,
}


@dataclass(frozen=True, kw_only=True)
class RuleFailure:
    """A rule that failed or had an invalid result, and why."""

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
    fallback_environment: FallbackEnvironment
    cluster: str = ""
    business: BusinessClassification | None = None
    failures: tuple[RuleFailure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def required_failure(self) -> RuleFailure | None:
        """The first failure that made the decision fall back."""
        return next((failure for failure in self.failures if failure.rule in REQUIRED_RULES), None)


class _InvalidResult(ValueError):
    """A rule's result that breaks the contract."""


class _Results:
    """The results of one evaluation, checked as they are read; every failure is kept."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self.failures: list[RuleFailure] = []

    def read(self, rule: str, check: Callable[[list[Any]], T], default: T) -> T:
        """What `check` makes of the rule's result; the default when the rule or the check failed."""
        if error := self._evaluation.errors.get(rule):
            self.failures.append(RuleFailure(rule=rule, message=_message(rule, error)))
            return default
        try:
            return check(self._evaluation.results.get(rule) or [])
        except _InvalidResult as error:
            self.failures.append(RuleFailure(rule=rule, message=str(error)))
            return default

    def is_undefined(self, rule: str) -> bool:
        return rule not in self._evaluation.errors and not self._evaluation.results.get(rule)


def decide(evaluation: Evaluation, policy_input: PolicyInput, policy_hash: str, form: Form = Form.UNIFIED) -> Decision:
    """The decision; a rule that failed or broke the contract is replaced by its fallback and listed in `failures`."""
    results = _Results(evaluation)
    raw = policy_input.signal.severity
    environment, environment_source = (
        results.read("environment", _environment, None) or policy_input.fallback_environment
    )
    severity, severity_source = Severity.UNKNOWN, SeveritySource.FALLBACK
    if form is Form.PER_DIMENSION and results.is_undefined("severity"):
        severity = _severity_of_sender(raw)
    elif decided := results.read("severity", lambda values: _severity(values, raw), None):
        severity, severity_source = decided, SeveritySource.REGO
    priority = results.read("priority", _priority, None)
    labels = results.read("labels", _labels, None)
    sanitized = custom_labels.sanitize(labels or {})
    cluster = results.read("cluster", _cluster, "")
    business = results.read("business", _business, None)
    return Decision(
        environment=environment,
        environment_source=environment_source,
        severity=severity,
        severity_source=severity_source,
        priority=priority[0] if priority else _priority_of_severity(severity, raw),
        priority_source=PrioritySource.REGO if priority else PrioritySource.SEVERITY,
        policy_name=priority[1] if priority else "",
        policy_hash=policy_hash,
        custom_labels=sanitized.labels if labels is not None else custom_labels.fallback(policy_input.context),
        fallback_environment=FallbackEnvironment(
            environment=policy_input.fallback_environment[0], source=policy_input.fallback_environment[1]
        ),
        cluster=cluster,
        business=business,
        failures=tuple(results.failures),
        warnings=sanitized.warnings,
    )


def fallback_decision(error: PolicyError, policy_input: PolicyInput, policy_hash: str) -> Decision:
    """The decision when the policy could not be evaluated at all; the rule that the error names comes first."""
    failed = RuleError(message=error.message, file=error.file, line=error.line, column=error.column)
    decided = decide(Evaluation(errors=dict.fromkeys((*REQUIRED_RULES, "labels"), failed)), policy_input, policy_hash)
    return replace(decided, failures=tuple(sorted(decided.failures, key=lambda each: each.rule != error.rule)))


def required_rules(form: Form) -> tuple[str, ...]:
    """The rules that a policy must define; in the per-dimension form each file may be absent."""
    return ("severity", "priority") if form is Form.UNIFIED else ()


def _priority_of_severity(severity: Severity, raw: str) -> Priority:
    name = raw.strip().lower() if severity is Severity.UNKNOWN else severity.value
    return _BY_SEVERITY.get(name, Priority.P2)


def _message(rule: str, error: RuleError) -> str:
    place = f"{error.file}:{error.line}:{error.column}: " if error.line else f"{error.file}: " if error.file else ""
    return f"rego evaluation failed: {rule}: {place}{error.message}"


def _environment(values: list[Any]) -> tuple[Environment, str] | None:
    """None when the policy leaves it open."""
    if not values:
        return None
    result = values[0]
    if not isinstance(result, Mapping):
        raise _InvalidResult("environment policy returned invalid output structure (expected map)")
    name, source = result.get("environment"), result.get("source") or EnvironmentSource.DEFAULT
    environment = parse_enum(Environment, name)
    if environment is None or not isinstance(source, str):
        allowed = ", ".join(Environment)
        raise _InvalidResult(f"environment policy returned {shown(name)}; allowed are {allowed}")
    return (environment, bounded(source)) if is_decided(environment, source) else None


def _severity(values: list[Any], raw: str) -> Severity:
    if not values:
        raise _InvalidResult(
            f'no severity determined by policy for input "{raw}" - add else clause for unmapped values'
        )
    result = values[0]
    if not isinstance(result, str):
        raise _InvalidResult(f"policy returned non-string severity: {type(result).__name__}")
    try:
        return Severity({"medium": "warning", "low": "info"}.get(result, result))
    except ValueError:
        allowed = "/".join(Severity)
        raise _InvalidResult(f"policy returned invalid severity {shown(result)} - must be {allowed}") from None


def _severity_of_sender(raw: str) -> Severity:
    """A per-dimension policy may lack a severity rule; the sender's severity counts where it is one of ours."""
    return parse_enum(Severity, {"medium": "warning", "low": "info"}.get(raw.lower(), raw)) or Severity.UNKNOWN


def _priority(values: list[Any]) -> tuple[Priority, str]:
    if not values:
        raise _InvalidResult("priority policy returned no results - add a `default` rule")
    result = values[0]
    if not isinstance(result, Mapping):
        raise _InvalidResult("priority policy returned invalid output structure (expected map)")
    value = result.get("priority")
    try:
        priority = Priority(str(value))
    except ValueError:
        text = shown(value).strip('"')
        raise _InvalidResult(f"invalid priority value: {text} (must be P0, P1, P2, or P3)") from None
    name = result.get("policy_name", "")
    return priority, bounded(name) if isinstance(name, str) else ""


def _labels(values: list[Any]) -> Mapping[str, object] | None:
    """None when the policy has no answer; an empty object is one."""
    if not values:
        return None
    result = values[0]
    if not isinstance(result, Mapping):
        raise _InvalidResult(f"invalid rego output type: {type(result).__name__}")
    return result


def _cluster(values: list[Any]) -> str:
    result = values[0] if values else ""
    if not isinstance(result, str):
        raise _InvalidResult(f"cluster policy returned non-string classification: {type(result).__name__}")
    return bounded(result)


def _business(values: list[Any]) -> BusinessClassification | None:
    result = values[0] if values else None
    if not isinstance(result, Mapping):
        return None
    unit, owner = result.get("business_unit"), result.get("service_owner")
    return BusinessClassification(
        business_unit=bounded(unit) if isinstance(unit, str) else "",
        service_owner=bounded(owner) if isinstance(owner, str) else "",
        criticality=parse_enum(Criticality, result.get("criticality")),
        sla_requirement=parse_enum(Sla, result.get("sla")),
    )
