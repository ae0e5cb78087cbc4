"""The conditions of a status, changed as Kubernetes prescribes it."""

from dataclasses import dataclass, replace
from datetime import datetime

from kubernaut.api.meta import Condition, ConditionStatus
from kubernaut.api.signals import SignalProcessing
from kubernaut.api.vocabulary import ConditionReason, ConditionType

MAX_MESSAGE_CHARS = 32768
"""The API server's own limit."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of one object at one moment."""

    items: tuple[Condition, ...]
    generation: int
    now: datetime

    @classmethod
    def of(cls, signal: SignalProcessing, now: datetime) -> "Conditions":
        return cls(items=tuple(signal.status.conditions), generation=signal.metadata.generation, now=now)

    def set(self, type: ConditionType, holds: bool, reason: ConditionReason, message: str) -> "Conditions":
        """With one condition added or replaced; its transition time changes only when its status does."""
        status = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
        previous = next((condition for condition in self.items if condition.type == type), None)
        is_unchanged = previous is not None and previous.status is status
        condition = Condition(
            type=type,
            status=status,
            reason=reason,
            message=message[:MAX_MESSAGE_CHARS],
            last_transition_time=previous.last_transition_time if previous and is_unchanged else self.now,
            observed_generation=self.generation or None,
        )
        if previous is None:
            return replace(self, items=(*self.items, condition))
        return replace(self, items=tuple(condition if item is previous else item for item in self.items))

    def to_list(self) -> list[Condition]:
        """As the status holds them."""
        return [*self.items]
