"""The status of a signal that has failed."""

from datetime import datetime

import msgspec

from kubernaut.api.signals import FailureInfo, SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import ConditionReason, ConditionType, Phase
from kubernaut.ops import redaction
from kubernaut.signalprocessing.conditions import Conditions

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


def failed(signal: SignalProcessing, text: str, reason: ConditionReason, now: datetime) -> SignalStatus:
    """The final status of a signal that could not be processed, complete with time and conditions."""
    status = signal.status
    failure = msgspec.structs.replace(
        status.failure_info or FailureInfo(), error=redaction.redact(text), last_failure_time=now
    )
    return msgspec.structs.replace(
        status,
        phase=Phase.FAILED,
        start_time=status.start_time or now,
        completion_time=now,
        observed_generation=signal.metadata.generation,
        conditions=_conditions(signal, text, reason, now).to_list(),
        failure_info=failure,
    )


def _conditions(signal: SignalProcessing, text: str, reason: ConditionReason, now: datetime) -> Conditions:
    phase = signal.status.phase or Phase.PENDING
    has_timed_out = reason is ConditionReason.TIMED_OUT
    conditions = Conditions.of(signal, now)
    if phase in _CONDITION_OF and reason is not ConditionReason.PROCESSING_FAILED:
        conditions = conditions.set(_CONDITION_OF[phase], False, reason, text)
    if phase is Phase.CLASSIFYING and not has_timed_out:
        message = "Skipped due to classification failure"
        conditions = conditions.set(ConditionType.CATEGORIZATION, False, ConditionReason.CATEGORIZATION_FAILED, message)
    if has_timed_out:
        conditions = conditions.set(ConditionType.PROCESSING, False, ConditionReason.TIMED_OUT, text)
    else:
        work = f" during {_WORK_OF[phase]}" if phase in _WORK_OF else ""
        message = f"Signal processing failed{work}"
        conditions = conditions.set(ConditionType.PROCESSING, False, ConditionReason.PROCESSING_FAILED, message)
    return conditions.set(ConditionType.READY, False, ConditionReason.NOT_READY, "Signal processing failed")
