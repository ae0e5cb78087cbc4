"""The phases: each reads what it needs and returns the status that follows; none writes, counts or logs.

Times come from the clock once per phase, so that a status tells when each phase ended. A phase that got no answer from
the API server stays and is retried; everything else goes on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from kubernaut.api.signals import ClusterContext, FailureInfo, KubernetesContext, SignalProcessing, SignalStatus, Target
from kubernaut.api.vocabulary import ConditionReason, ConditionType, Environment, EventReason, Phase, TargetType
from kubernaut.kube.errors import KubeError
from kubernaut.ops import redaction
from kubernaut.ops.backoff import Backoff
from kubernaut.signalprocessing import business
from kubernaut.signalprocessing.classification import UNKNOWN_CONTEXT, classified, summary
from kubernaut.signalprocessing.conditions import Conditions
from kubernaut.signalprocessing.config import OnPolicyError
from kubernaut.signalprocessing.enrichment import EnrichmentError, EnrichmentResult, enrich
from kubernaut.signalprocessing.environment_mapping import EnvironmentMapping
from kubernaut.signalprocessing.failure import failed
from kubernaut.signalprocessing.kubernetes_events import KubernetesEvent, warning
from kubernaut.signalprocessing.policy.decision import Decision, RuleFailure
from kubernaut.signalprocessing.policy.input import PolicyInput
from kubernaut.signalprocessing.reader import Reader
from kubernaut.signalprocessing.signal_mode import SignalModeMapping

RETRY = Backoff(initial_delay=1.0, max_delay=60.0, factor=2.0, jitter=0.0)
"""Delay before a failed enrichment is retried, by the number of failures."""

MIN_ENRICHMENT_TIMEOUT = 0.05  # seconds; the deadline may be closer than that


class Policy(Protocol):
    """Decides signals."""

    async def decide(self, policy_input: PolicyInput) -> Decision: ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What the phases read besides the signal; functions return the state as it is at the moment of the call."""

    reader: Reader
    policy: Policy
    environments: Callable[[], EnvironmentMapping]
    signal_modes: Callable[[], SignalModeMapping]
    cluster: str = ""
    """The name of the cluster that `reader` reads; empty when it has none."""
    cluster_labels: Callable[[str], dict[str, str]] = lambda _: {}
    """The labels of the cluster of that name."""


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """The status after a phase, and what is to be reported about it."""

    status: SignalStatus
    events: tuple[KubernetesEvent, ...] = ()
    requeue_after: float | None = None
    """Seconds until the phase is retried; None when it ended."""
    enrichment_error: EnrichmentError | None = None
    """Why facts are missing."""
    rule_failures: tuple[RuleFailure, ...] = ()
    """Rules of the policy that failed, so that something else decided."""
    warnings: tuple[str, ...] = ()
    """Custom labels of the policy that were ignored or truncated."""


class Phases:
    """The work of each phase."""

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        enrichment_timeout: float = 10.0,
        on_policy_error: OnPolicyError = OnPolicyError.FALLBACK,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._dependencies = dependencies
        self._enrichment_timeout = enrichment_timeout
        self._on_policy_error = on_policy_error
        self._clock = clock

    async def advance(self, signal: SignalProcessing) -> PhaseResult:
        """One phase further; the signal is not in a final phase."""
        deadline = signal.spec.times_out_at
        if deadline is not None and self._clock() > deadline:
            return self._time_out(signal, deadline)
        match signal.status.phase:
            case None:
                return PhaseResult(status=_replace(signal.status, phase=Phase.PENDING, start_time=self._clock()))
            case Phase.PENDING:
                start = signal.status.start_time or self._clock()
                return PhaseResult(status=_replace(signal.status, phase=Phase.ENRICHING, start_time=start))
            case Phase.ENRICHING:
                return await self._enrich(signal)
            case Phase.CLASSIFYING:
                return await self._classify(signal)
            case Phase.CATEGORIZING:
                return self._categorize(signal)
            case _:
                raise ValueError(f"{signal.status.phase} is final")

    def complete_failure(self, signal: SignalProcessing) -> PhaseResult:
        """A signal that another writer failed, with the time and the conditions that belong to a final phase."""
        text = (signal.status.failure_info and signal.status.failure_info.error) or "failed by its parent"
        return PhaseResult(status=failed(signal, text, ConditionReason.PROCESSING_FAILED, self._clock()))

    def abandon(self, signal: SignalProcessing) -> PhaseResult:
        """A signal that was deleted before it ended."""
        phase = signal.status.phase or Phase.PENDING
        if phase.is_final:
            return self.complete_failure(signal)
        text = f"the signal was deleted during phase {phase}"
        return PhaseResult(status=failed(signal, text, ConditionReason.PROCESSING_FAILED, self._clock()))

    async def _enrich(self, signal: SignalProcessing) -> PhaseResult:
        spec = signal.spec
        timeout = self._enrichment_timeout
        if spec.times_out_at is not None:
            remaining = (spec.times_out_at - self._clock()).total_seconds()
            timeout = min(timeout, max(MIN_ENRICHMENT_TIMEOUT, remaining))
        try:
            async with asyncio.timeout(timeout):
                enriched = await enrich(self._dependencies.reader, signal, self._dependencies.cluster)
        except (KubeError, TimeoutError) as error:
            return self._retry_enrichment(signal, str(error) or f"no answer within {timeout:g} s")
        context = enriched.context
        if labels := self._dependencies.cluster_labels(signal.spec.signal.cluster_id):
            context = _replace(context, cluster=ClusterContext(labels=labels))
        reason, message, events = _enrichment_message(signal, enriched)
        conditions = Conditions.of(signal, self._clock()).set(ConditionType.ENRICHMENT, True, reason, message)
        status = _replace(
            signal.status,
            phase=Phase.CLASSIFYING,
            kubernetes_context=context,
            recovery_context=enriched.recovery,
            conditions=conditions.to_list(),
            failure_info=None,
        )
        degraded = enriched.degraded_reasons
        return PhaseResult(status=status, events=events, enrichment_error=degraded[0].error if degraded else None)

    def _retry_enrichment(self, signal: SignalProcessing, error: str) -> PhaseResult:
        """The phase stays, and the failure is in the status."""
        now = self._clock()
        text = redaction.redact(f"enrichment failed: {error}")
        previous = signal.status.failure_info
        failures = (previous.consecutive_failures if previous else 0) + 1
        conditions = Conditions.of(signal, now).set(
            ConditionType.ENRICHMENT, False, ConditionReason.ENRICHMENT_FAILED, text
        )
        status = _replace(
            signal.status,
            conditions=conditions.to_list(),
            failure_info=FailureInfo(error=text, consecutive_failures=failures, last_failure_time=now),
        )
        target = _describe(signal.spec.signal.target_resource)
        message = f"K8s enrichment failed for {target}: {redaction.redact(error)}"
        return PhaseResult(
            status=status,
            events=(warning(EventReason.ENRICHMENT_FAILED, message),),
            requeue_after=RETRY.delay(failures),
            enrichment_error=EnrichmentError.API_ERROR,
        )

    async def _classify(self, signal: SignalProcessing) -> PhaseResult:
        decision = await self._dependencies.policy.decide(self.policy_input(signal))
        failure = decision.required_failure
        if failure and self._on_policy_error is OnPolicyError.FAIL:
            prefix, reason = _RULE_FAILURES[failure.rule]
            text = redaction.redact(f"{prefix}: {failure.message}")
            status = failed(signal, text, reason, self._clock())
            events = (_policy_warning(signal, failure), warning(EventReason.SIGNAL_FAILED, text))
            return PhaseResult(
                status=status, events=events, rule_failures=decision.failures, warnings=decision.warnings
            )
        mode = self._dependencies.signal_modes().mode_of(signal.spec.signal.name)
        now = self._clock()
        reason, message = ConditionReason.CLASSIFICATION_SUCCEEDED, summary(decision, mode)
        if failure:
            reason = ConditionReason.POLICY_FALLBACK
            message = f"{message}; policy fallback: rule {failure.rule}: {redaction.redact(failure.message)}"
        conditions = Conditions.of(signal, now).set(ConditionType.CLASSIFICATION, True, reason, message)
        status = _replace(classified(signal.status, decision, mode, now), conditions=conditions.to_list())
        warnings = (_policy_warning(signal, failure),) if failure else ()
        return PhaseResult(status=status, events=warnings, rule_failures=decision.failures, warnings=decision.warnings)

    def policy_input(self, signal: SignalProcessing) -> PolicyInput:
        """What the policy gets to see of a signal that has been enriched."""
        context = signal.status.kubernetes_context or UNKNOWN_CONTEXT
        mapped: Environment | None = None
        if context.namespace:
            mapped = self._dependencies.environments().environment_of(context.namespace.name)
        return PolicyInput(signal=signal.spec.signal, context=context, mapped_environment=mapped)

    def _categorize(self, signal: SignalProcessing) -> PhaseResult:
        status = signal.status
        context = status.kubernetes_context or KubernetesContext()
        classification = status.environment_classification
        environment = classification.environment if classification else None
        category = business.classify(environment, context, status.business_classification)
        now = self._clock()
        seconds = (now - (status.start_time or now)).total_seconds()
        priority = status.priority_assignment.priority if status.priority_assignment else "P2"
        done = (
            f"Signal processed successfully in {seconds:.2f}s:"
            f" {priority} {environment or Environment.UNKNOWN} alert ready for remediation"
        )
        message = (
            f"Categorized: businessUnit={category.business_unit}, criticality={category.criticality},"
            f" sla={category.sla_requirement}"
        )
        conditions = (
            Conditions.of(signal, now)
            .set(ConditionType.CATEGORIZATION, True, ConditionReason.CATEGORIZATION_SUCCEEDED, message)
            .set(ConditionType.PROCESSING, True, ConditionReason.PROCESSING_SUCCEEDED, done)
            .set(ConditionType.READY, True, ConditionReason.READY, "Signal processing completed")
        )
        status = _replace(
            status,
            phase=Phase.COMPLETED,
            completion_time=now,
            observed_generation=signal.metadata.generation,
            business_classification=category,
            conditions=conditions.to_list(),
            failure_info=None,
        )
        return PhaseResult(status=status, events=(KubernetesEvent(reason=EventReason.SIGNAL_PROCESSED, message=done),))

    def _time_out(self, signal: SignalProcessing, deadline: datetime) -> PhaseResult:
        phase = signal.status.phase or Phase.PENDING
        now = self._clock()
        elapsed = (now - (signal.status.start_time or signal.metadata.creation_timestamp or now)).total_seconds()
        text = (
            f"signal processing timed out after {max(0.0, elapsed):.3f}s during phase {phase}"
            f" (deadline: {deadline.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')})"
        )
        status = failed(signal, text, ConditionReason.TIMED_OUT, now)
        return PhaseResult(status=status, events=(warning(EventReason.PROCESSING_TIMED_OUT, text),))


_RULE_FAILURES = {
    "environment": ("environment classification failed", ConditionReason.CLASSIFICATION_FAILED),
    "priority": ("priority assignment failed", ConditionReason.CLASSIFICATION_FAILED),
    "severity": ("policy evaluation failed", ConditionReason.REGO_EVALUATION_ERROR),
}

_replace = msgspec.structs.replace


def _enrichment_message(
    signal: SignalProcessing, enriched: EnrichmentResult
) -> tuple[ConditionReason, str, tuple[KubernetesEvent, ...]]:
    target = _describe(signal.spec.signal.target_resource)
    events: list[KubernetesEvent] = []
    target_type = signal.spec.signal.target_type
    if target_type is not TargetType.KUBERNETES:
        text = f'targetType "{target_type}" is not yet supported for enrichment; proceeding in degraded mode'
        events.append(warning(EventReason.UNSUPPORTED_TARGET_TYPE, text))
    if not enriched.degraded_reasons:
        message = f"K8s context enriched: {target}"
        events.append(KubernetesEvent(reason=EventReason.SIGNAL_ENRICHED, message=message))
        return ConditionReason.ENRICHMENT_SUCCEEDED, message, tuple(events)
    reasons = "; ".join(reason.message for reason in enriched.degraded_reasons)
    message = f"Enrichment completed in degraded mode: {target} ({reasons})"
    events.append(warning(EventReason.ENRICHMENT_DEGRADED, message))
    return ConditionReason.DEGRADED_MODE, message, tuple(events)


def _policy_warning(signal: SignalProcessing, failure: RuleFailure) -> KubernetesEvent:
    severity, text = signal.spec.signal.severity, redaction.redact(failure.message)
    message = f'Rego policy evaluation failed for external severity "{severity}": rule {failure.rule}: {text}'
    return warning(EventReason.POLICY_EVALUATION_FAILED, message)


def _describe(target: Target) -> str:
    return f"{target.kind} {target.namespace}/{target.name}" if target.namespace else f"{target.kind} {target.name}"
