"""The phases: each reads what it needs and says what the status becomes; none writes.

Times come from the clock once per phase, so that a status tells when each phase ended. What a phase could not find out
because an API server did not answer makes an outcome that waits; everything else goes on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog

from kubernaut.api.meta import Condition, ConditionStatus
from kubernaut.api.signals import (
    EnvironmentClassification,
    FailureInfo,
    KubernetesContext,
    PriorityAssignment,
    SignalClassification,
    SignalProcessing,
    SignalStatus,
    Target,
)
from kubernaut.api.vocabulary import (
    ConditionType,
    Environment,
    EventReason,
    Phase,
    Reason,
    SeveritySource,
    SignalMode,
    TargetType,
)
from kubernaut.kube.errors import KubeError
from kubernaut.ops.backoff import Backoff
from kubernaut.signalprocessing import business, redaction
from kubernaut.signalprocessing.config import OnPolicyError
from kubernaut.signalprocessing.enrichment import Reader, enriched
from kubernaut.signalprocessing.mapping import EnvironmentMapping
from kubernaut.signalprocessing.metrics import ProcessingMetrics
from kubernaut.signalprocessing.policy.decision import Decision
from kubernaut.signalprocessing.policy.facts import Facts
from kubernaut.signalprocessing.signal_mode import Mode, SignalModes

log = structlog.get_logger("phases")

RETRY = Backoff(initial_delay=1.0, max_delay=60.0, factor=2.0, jitter=0.0)
"""How long an outage is waited for, by the number of failures."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A Kubernetes Event to record once the status is written."""

    reason: EventReason
    message: str
    is_warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a phase came to."""

    status: SignalStatus
    notices: tuple[Notice, ...] = ()
    wait: float | None = None
    """Seconds to wait before the phase is tried again; None when it ended."""


class Decides(Protocol):
    """A policy."""

    async def decide(self, facts: Facts) -> Decision: ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the phases read besides the signal, as it is at the moment of asking."""

    reader: Reader
    policy: Callable[[], Decides]
    mapping: Callable[[], EnvironmentMapping]
    modes: Callable[[], SignalModes]


class Phases:
    """The work of each phase."""

    def __init__(
        self,
        surroundings: Surroundings,
        metrics: ProcessingMetrics,
        *,
        enrichment_timeout: float = 10.0,
        on_policy_error: OnPolicyError = OnPolicyError.FALLBACK,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._around = surroundings
        self._metrics = metrics
        self._enrichment_timeout = enrichment_timeout
        self._on_policy_error = on_policy_error
        self._clock = clock

    async def advance(self, signal: SignalProcessing) -> Outcome:
        """One phase further; the signal is not in a final phase."""
        deadline = signal.spec.times_out_at
        if deadline is not None and self._clock() > deadline:
            return self._expired(signal, deadline)
        match signal.status.phase:
            case None:
                return self._first_seen(signal)
            case Phase.PENDING:
                start = signal.status.start_time or self._clock()
                return Outcome(status=_replace(signal.status, phase=Phase.ENRICHING, start_time=start))
            case Phase.ENRICHING:
                return await self._enrich(signal)
            case Phase.CLASSIFYING:
                return await self._classify(signal)
            case Phase.CATEGORIZING:
                return self._categorize(signal)
            case _:
                raise ValueError(f"{signal.status.phase} is final")

    def closed(self, signal: SignalProcessing) -> Outcome:
        """A signal that somebody else failed, with the time and the conditions that belong to a final phase."""
        text = (signal.status.failure_info and signal.status.failure_info.error) or "failed by its parent"
        return self._fail(signal, text, Reason.PROCESSING_FAILED)

    def _first_seen(self, signal: SignalProcessing) -> Outcome:
        return Outcome(status=_replace(signal.status, phase=Phase.PENDING, start_time=self._clock()))

    async def _enrich(self, signal: SignalProcessing) -> Outcome:
        spec, status = signal.spec, signal.status
        limit = self._enrichment_timeout
        if spec.times_out_at is not None:
            limit = min(limit, max(0.05, (spec.times_out_at - self._clock()).total_seconds()))
        try:
            async with asyncio.timeout(limit):
                found = await enriched(
                    self._around.reader, spec.signal, spec.remediation_request_ref, signal.metadata.namespace
                )
        except (KubeError, TimeoutError) as error:
            return self._unreachable(signal, str(error) or f"no answer within {limit:g} s")
        target = _named(spec.signal.target_resource)
        notices: list[Notice] = []
        if spec.signal.target_type is not TargetType.KUBERNETES:
            text = f'targetType "{spec.signal.target_type}" is not yet supported for enrichment'
            notices.append(_warning(EventReason.UNSUPPORTED_TARGET_TYPE, f"{text}; proceeding in degraded mode"))
        if found.gaps:
            self._metrics.enrichment_error("not_found" if "not found" in found.gaps[0] else "incomplete")
            reason = Reason.DEGRADED_MODE
            message = f"Enrichment completed in degraded mode: {target} ({'; '.join(found.gaps)})"
            notices.append(_warning(EventReason.ENRICHMENT_DEGRADED, message))
        else:
            reason = Reason.ENRICHMENT_SUCCEEDED
            message = f"K8s context enriched: {target}"
            notices.append(Notice(reason=EventReason.SIGNAL_ENRICHED, message=message))
        status = self._with(signal, status, ConditionType.ENRICHMENT, True, reason, message)
        status = _replace(
            status,
            phase=Phase.CLASSIFYING,
            kubernetes_context=found.context,
            recovery_context=found.recovery,
            failure_info=None,
        )
        return Outcome(status=status, notices=tuple(notices))

    def _unreachable(self, signal: SignalProcessing, error: str) -> Outcome:
        """The phase stays, and the failure stands in the status."""
        target = _named(signal.spec.signal.target_resource)
        text = redaction.text(f"enrichment failed: {error}")
        before = signal.status.failure_info
        failures = (before.consecutive_failures if before else 0) + 1
        self._metrics.enrichment_error("api_error")
        self._metrics.failed(Phase.ENRICHING)
        status = self._with(signal, signal.status, ConditionType.ENRICHMENT, False, Reason.ENRICHMENT_FAILED, text)
        info = FailureInfo(error=text, consecutive_failures=failures, last_failure_time=self._clock())
        notice = _warning(EventReason.ENRICHMENT_FAILED, f"K8s enrichment failed for {target}: {redaction.text(error)}")
        return Outcome(status=_replace(status, failure_info=info), notices=(notice,), wait=RETRY.delay(failures))

    async def _classify(self, signal: SignalProcessing) -> Outcome:
        began = self._clock()
        context = signal.status.kubernetes_context or KubernetesContext(degraded_mode=True)
        raw = signal.spec.signal
        mapped: Environment | None = None
        if context.namespace:
            mapped = self._around.mapping().environment_of(context.namespace.name)
        decision = await self._around.policy().decide(Facts(signal=raw, context=context, mapped=mapped))
        self._metrics.policy.decided((self._clock() - began).total_seconds())
        for failure in decision.failures:
            self._metrics.policy.fell_back(failure.rule)
        for warning in decision.warnings:
            log.warning("custom label was limited", signal=signal.metadata.name, reason=warning)
        vital = decision.vital_failure
        if vital and self._on_policy_error is OnPolicyError.FAIL:
            return self._undecided(signal, vital.rule, vital.message)
        mode = self._around.modes().mode_of(raw.name)
        now = self._clock()
        notices: tuple[Notice, ...] = ()
        reason, message = Reason.CLASSIFICATION_SUCCEEDED, _decided(decision, mode)
        if vital:
            text = redaction.text(vital.message)
            reason, message = Reason.POLICY_FALLBACK, f"{message}; policy fallback: {text}"
            notices = (
                _warning(
                    EventReason.POLICY_EVALUATION_FAILED,
                    f'Rego policy evaluation failed for external severity "{raw.severity}": {text}',
                ),
            )
        status = _replace(
            signal.status,
            phase=Phase.CATEGORIZING,
            kubernetes_context=_replace(context, custom_labels=decision.custom_labels),
            environment_classification=EnvironmentClassification(
                environment=decision.environment, source=decision.environment_source, classified_at=now
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
            # What the policy says of the business class waits here for the next phase, by the same version.
            business_classification=decision.business,
        )
        status = self._with(signal, status, ConditionType.CLASSIFICATION, True, reason, message, now)
        return Outcome(status=status, notices=notices)

    def _undecided(self, signal: SignalProcessing, rule: str, message: str) -> Outcome:
        prefix = {
            "environment": "environment classification failed",
            "priority": "priority assignment failed",
            "severity": "policy evaluation failed",
        }[rule]
        text = redaction.text(f"{prefix}: {message}")
        reason = Reason.REGO_EVALUATION_ERROR if rule == "severity" else Reason.CLASSIFICATION_FAILED
        raw = signal.spec.signal.severity
        notice = _warning(
            EventReason.POLICY_EVALUATION_FAILED,
            f'Rego policy evaluation failed for external severity "{raw}": {redaction.text(message)}',
        )
        outcome = self._fail(signal, text, reason)
        return Outcome(status=outcome.status, notices=(notice, *outcome.notices))

    def _categorize(self, signal: SignalProcessing) -> Outcome:
        status = signal.status
        context = status.kubernetes_context or KubernetesContext()
        classified = status.environment_classification
        environment = classified.environment if classified else None
        found = business.classify(environment, context, status.business_classification)
        now = self._clock()
        start = status.start_time or now
        priority = status.priority_assignment
        took = (now - start).total_seconds()
        what = f"{priority.priority if priority else 'P2'} {environment or Environment.UNKNOWN}"
        done = f"Signal processed successfully in {took:.2f}s: {what} alert ready for remediation"
        message = (
            f"Categorized: businessUnit={found.business_unit}, criticality={found.criticality},"
            f" sla={found.sla_requirement}"
        )
        type, succeeded = ConditionType, True
        status = self._with(
            signal, status, type.CATEGORIZATION, succeeded, Reason.CATEGORIZATION_SUCCEEDED, message, now
        )
        status = self._with(signal, status, type.PROCESSING, succeeded, Reason.PROCESSING_SUCCEEDED, done, now)
        status = self._with(signal, status, type.READY, succeeded, Reason.READY, "Signal processing completed", now)
        status = _replace(
            status,
            phase=Phase.COMPLETED,
            completion_time=now,
            observed_generation=signal.metadata.generation,
            business_classification=found,
            failure_info=None,
        )
        return Outcome(status=status, notices=(Notice(reason=EventReason.SIGNAL_PROCESSED, message=done),))

    def _expired(self, signal: SignalProcessing, deadline: datetime) -> Outcome:
        phase = signal.status.phase or Phase.PENDING
        now = self._clock()
        elapsed = (now - (signal.status.start_time or signal.metadata.creation_timestamp or now)).total_seconds()
        text = (
            f"signal processing timed out after {max(0.0, elapsed):.3f}s during phase {phase}"
            f" (deadline: {deadline.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')})"
        )
        outcome = self._fail(signal, text, Reason.TIMED_OUT)
        return Outcome(status=outcome.status, notices=(_warning(EventReason.PROCESSING_TIMED_OUT, text),))

    def _fail(self, signal: SignalProcessing, text: str, reason: Reason) -> Outcome:
        """The end of a signal that could not be processed, complete with time and conditions."""
        status, now = signal.status, self._clock()
        phase = status.phase or Phase.PENDING
        timed_out = reason is Reason.TIMED_OUT
        active = _CONDITION_OF.get(phase)
        if active and reason is not Reason.PROCESSING_FAILED:
            status = self._with(signal, status, active, False, reason, text, now)
        if phase is Phase.CLASSIFYING and not timed_out and active:
            status = self._with(
                signal,
                status,
                ConditionType.CATEGORIZATION,
                False,
                Reason.CATEGORIZATION_FAILED,
                "Skipped due to classification failure",
                now,
            )
        where = f" during {_WORK_OF[phase]}" if phase in _WORK_OF and not timed_out else ""
        why = text if timed_out else f"Signal processing failed{where}"
        processing = Reason.TIMED_OUT if timed_out else Reason.PROCESSING_FAILED
        status = self._with(signal, status, ConditionType.PROCESSING, False, processing, why, now)
        status = self._with(
            signal, status, ConditionType.READY, False, Reason.NOT_READY, "Signal processing failed", now
        )
        before = status.failure_info or FailureInfo()
        status = _replace(
            status,
            phase=Phase.FAILED,
            start_time=status.start_time or now,
            completion_time=now,
            observed_generation=signal.metadata.generation,
            failure_info=_replace(before, error=redaction.text(text), last_failure_time=now),
        )
        return Outcome(status=status, notices=(_warning(EventReason.SIGNAL_FAILED, redaction.text(text)),))

    def _with(
        self,
        signal: SignalProcessing,
        status: SignalStatus,
        type: ConditionType,
        holds: bool,
        reason: Reason,
        message: str,
        now: datetime | None = None,
    ) -> SignalStatus:
        value = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
        before = status.condition(type)
        since = before.last_transition_time if before and before.status is value else now or self._clock()
        condition = Condition(
            type=type,
            status=value,
            reason=reason,
            message=message[:32768],
            last_transition_time=since,
            observed_generation=signal.metadata.generation or None,
        )
        if before is None:
            return _replace(status, conditions=[*status.conditions, condition])
        return _replace(status, conditions=[condition if each is before else each for each in status.conditions])


_CONDITION_OF = {
    Phase.ENRICHING: ConditionType.ENRICHMENT,
    Phase.CLASSIFYING: ConditionType.CLASSIFICATION,
    Phase.CATEGORIZING: ConditionType.CATEGORIZATION,
}
_WORK_OF = {
    Phase.ENRICHING: "enrichment",
    Phase.CLASSIFYING: "classification",
    Phase.CATEGORIZING: "categorization",
}

_replace = msgspec.structs.replace


def _warning(reason: EventReason, message: str) -> Notice:
    return Notice(reason=reason, message=message, is_warning=True)


def _named(target: Target) -> str:
    return f"{target.kind} {target.namespace}/{target.name}" if target.namespace else f"{target.kind} {target.name}"


def _decided(decision: Decision, mode: Mode) -> str:
    severity_source = decision.severity_source or SeveritySource.REGO
    text = (
        f"Classified: environment={decision.environment} (source={decision.environment_source}),"
        f" priority={decision.priority} (source={decision.priority_source}),"
        f" severity={decision.severity} (source={severity_source})"
    )
    if mode.mode is SignalMode.PROACTIVE:
        text += f", signalMode=proactive (normalized: {mode.source_name} → {mode.name})"
    return text
