"""Whether another replica decides by another version of the policy, as the signals that it decides tell.

Replicas get a new version within about a minute of each other, so only what was decided well after the version in force
came into force counts.
"""

from datetime import datetime, timedelta

import structlog

from kubernaut.api.signals import SignalProcessing
from kubernaut.signalprocessing.metrics import PolicyMetrics
from kubernaut.signalprocessing.policy.live import LivePolicy

log = structlog.get_logger("policy")

PROPAGATION_TIME = timedelta(minutes=2)
"""Within which replicas may still have different versions."""


class OtherReplicas:
    """The versions by which other replicas decide, as far as they are seen."""

    def __init__(self, policy: LivePolicy, metrics: PolicyMetrics) -> None:
        self._policy = policy
        self._metrics = metrics
        self._other: tuple[str, str, datetime] | None = None
        """Another version, the one in force here when it was seen, and when it decided."""

    @property
    def difference(self) -> str | None:
        """The other version, in words with underscores; None where all decide by the same."""
        if self._other is None or self._other[1] != self._policy.current.hash:
            return None
        return f"other_replica_decides_by_policy:{self._other[0][:12]},in_force_here:{self._policy.current.hash[:12]}"

    def on_change(self, _old: SignalProcessing | None, new: SignalProcessing | None) -> None:
        """Listener of the cache of signals."""
        if new is None or new.status.signal_classification is None or new.status.environment_classification is None:
            return
        found = new.status.signal_classification.policy_hash
        decided_at = new.status.environment_classification.classified_at
        here = self._policy.current.hash
        if not found or decided_at < self._policy.loaded_at + PROPAGATION_TIME:
            return
        if found != here:
            if self._other is None or self._other[:2] != (found, here):
                log.error("another replica decides by another policy", theirs=found, ours=here)
                self._metrics.differs(is_different=True)
            self._other = (found, here, decided_at)
        elif self._other is not None and decided_at > self._other[2]:
            log.info("replicas decide by the same policy again", hash=here)
            self._metrics.differs(is_different=False)
            self._other = None
