"""An alert with what it is about."""

from dataclasses import dataclass

from kubernaut.api.signals import Signal, Target
from kubernaut.gateway.alertmanager import Alert


@dataclass(frozen=True, kw_only=True)
class MappedAlert:
    """The signal of an alert, and what it is about."""

    signal: Signal
    owner: Target
    """The top-level owner of the signal's target."""
    fold_key: str
    """The same for alerts that are one signal."""
    notes: tuple[str, ...] = ()
    """Why the target may not be what the labels mean."""


@dataclass(frozen=True)
class NoTarget:
    """Why an alert is about nothing in a cluster."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ReceivedAlert:
    """An alert, its index in the notification, and its signal."""

    index: int
    alert: Alert
    mapped: MappedAlert

    @property
    def signal(self) -> Signal:
        return self.mapped.signal
