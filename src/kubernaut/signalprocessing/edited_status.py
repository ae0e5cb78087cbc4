"""A status that somebody else than the controller has written, and where the signal really stands.

`completionTime` and `observedGeneration` are written at the end only, and each phase leaves a condition. So a signal
that has ended stays ended, because to decide it once more would give its audit events a second content under the same
ids; and a phase for which there is no condition has not been reached.
"""

from datetime import datetime

import msgspec

from kubernaut.api.meta import ConditionStatus
from kubernaut.api.signals import SignalProcessing, SignalStatus
from kubernaut.api.vocabulary import ConditionType, Phase


def repaired(signal: SignalProcessing) -> SignalStatus:
    """The status with the phase that its other fields prove; the same object where it is in order.

    `Failed` is taken as it is: parents write it.
    """
    status = signal.status
    if status.phase is Phase.FAILED or (status.phase is Phase.COMPLETED and status.completion_time):
        return status
    if _has_ended(signal):
        return _ended(status)
    phase = _proven(status)
    return status if phase is status.phase else msgspec.structs.replace(status, phase=phase)


def _has_ended(signal: SignalProcessing) -> bool:
    status = signal.status
    if status.completion_time is not None:
        return True
    return 0 < status.observed_generation == signal.metadata.generation and _ended_at(status) is not None


def _ended(status: SignalStatus) -> SignalStatus:
    processing = status.condition(ConditionType.PROCESSING)
    is_completed = processing is None or processing.status is ConditionStatus.TRUE
    return msgspec.structs.replace(
        status,
        phase=Phase.COMPLETED if is_completed else Phase.FAILED,
        completion_time=status.completion_time or _ended_at(status),
    )


def _ended_at(status: SignalStatus) -> datetime | None:
    """When the condition was set that says how the processing ended."""
    processing = status.condition(ConditionType.PROCESSING)
    return processing.last_transition_time if processing is not None else None


def _proven(status: SignalStatus) -> Phase | None:
    """The phase as far as the conditions of those before it are true."""
    if status.phase not in (Phase.CLASSIFYING, Phase.CATEGORIZING, Phase.COMPLETED):
        return status.phase
    if not _is_true(status, ConditionType.ENRICHMENT) or status.kubernetes_context is None:
        return Phase.ENRICHING
    if status.phase is Phase.CLASSIFYING or not _is_true(status, ConditionType.CLASSIFICATION):
        return Phase.CLASSIFYING
    return Phase.CATEGORIZING


def _is_true(status: SignalStatus, type: ConditionType) -> bool:
    condition = status.condition(type)
    return condition is not None and condition.status is ConditionStatus.TRUE
